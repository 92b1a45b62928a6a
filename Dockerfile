# docker build -t walkthrough-kit . && docker run --rm -p 127.0.0.1:8888:8888 walkthrough-kit
# Add `--gpus all` to the run to use an NVIDIA GPU; JupyterLab prints the address with its token.
FROM python:3.11-slim-bookworm

ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

RUN useradd --create-home --uid 1000 reader
WORKDIR /home/reader/walkthrough-kit

COPY --chown=reader:reader pyproject.toml constraints.txt README.md LICENSE ./
COPY --chown=reader:reader kit kit
RUN python -m pip install --no-cache-dir -c constraints.txt -e '.[lab]'
COPY --chown=reader:reader walkthroughs walkthroughs

USER reader
RUN python -m kit
EXPOSE 8888
CMD ["python", "-m", "jupyterlab", "--ip=0.0.0.0", "--no-browser", "--ServerApp.root_dir=walkthroughs"]
