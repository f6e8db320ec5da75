# Phasewise with every dependency at the version that requirements.lock pins, as a user without rights.
#   docker build -t phasewise .
#   docker run --rm -it --gpus all -v "$PWD:/work" phasewise run tickets.yaml
# The study, its data and its results stay in the mounted folder. Without --gpus it runs on the CPU. For another
# CUDA than the wheels of torch on PyPI bring: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126
FROM python:3.11-slim-bookworm

# g++: compiled CPU kernels; git: the commit in every record; rsync and ssh: merge from other machines.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git openssh-client rsync \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/phasewise
ARG TORCH_INDEX=https://pypi.org/simple
COPY requirements.lock ./
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -r requirements.lock

COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE Snakefile ./
COPY shared ./shared
COPY workflow ./workflow
COPY profiles ./profiles
RUN pip install --no-cache-dir --no-deps .

# Hub models and tokenized data are kept where a volume can be mounted.
ENV HF_HOME=/cache/huggingface PHASEWISE_CACHE=/cache/phasewise
RUN useradd --create-home phasewise && mkdir -p /cache /work && chown phasewise /cache /work
USER phasewise
WORKDIR /work
ENTRYPOINT ["phasewise"]
CMD ["--help"]
