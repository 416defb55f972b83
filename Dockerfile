# Build: docker build -t segexp .
# For a computer without an NVIDIA GPU, name the index of PyTorch's much smaller CPU build, as pytorch.org gives it:
#        docker build -t segexp --build-arg TORCH_INDEX=URL .
# Run:   docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/work" --shm-size=2g segexp train task=vesicle data.root=DATA output_dir=run
# With a GPU, add --gpus all.
FROM python:3.12-slim
ARG TORCH_INDEX=
WORKDIR /opt/segexp
COPY . .
RUN if [ -n "$TORCH_INDEX" ]; then pip install --no-cache-dir -c constraints.txt torch --index-url "$TORCH_INDEX"; fi \
    && pip install --no-cache-dir -c constraints.txt . \
    && useradd --create-home segexp
USER segexp
ENV HYDRA_FULL_ERROR=0 MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
ENTRYPOINT ["segexp"]
CMD ["--help"]
