# One image for the stack and for the demo shop; docker-compose.yml says which of them runs.
FROM python:3.12-slim
WORKDIR /app
COPY . .
RUN pip install --no-cache-dir -c constraints.txt '.[server,demo]' \
    && useradd --create-home spanwise \
    && install --directory --owner=spanwise /data
USER spanwise
CMD ["spanwise", "up", "--host", "0.0.0.0", "--data", "/data"]
