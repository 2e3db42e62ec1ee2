// A small shop that asks another service for its prices; it knows nothing of OpenTelemetry.
const http = require("node:http");

const shop = http.createServer(async (request, response) => {
  const price = await fetch(process.env.PRICES_URL + request.url);
  response.end(await price.text());
});
shop.listen(Number(process.env.PORT), "127.0.0.1");
process.on("SIGTERM", () => shop.close());
