//! `gossamer serve`: an HTTP server around `gossamer::api::http`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use clap::{Args, ValueEnum};
use gossamer::api::http::{self, Dialect, Incoming, Refusal};
use gossamer::{Either, Gpu, Kind, WeightDtype};
use tokio::net::TcpListener;

use crate::model::{Model, Share};
use crate::source;

/// What is served, and how.
#[derive(Args)]
pub struct Options {
    /// A model: its id on the Hugging Face Hub (owner/name, owner/name@revision) or a folder; NAME=… gives it another
    /// name. Several may be given: requests choose by name, and the first answers those that name none. A single one
    /// answers to any name
    #[arg(long = "model", required = true, value_name = "[NAME=]SOURCE")]
    models: Vec<String>,
    /// The weight file to load, by its path in the folder or repository: a GGUF file, or one to take in place of
    /// model.safetensors; for a single model
    #[arg(long, value_name = "PATH")]
    file: Option<String>,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1", env = "GOSSAMER_HOST")]
    host: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080, env = "GOSSAMER_PORT")]
    port: u16,
    /// A key that requests must have; several may be given. None: all may ask
    #[arg(
        long = "api-key",
        value_name = "KEY",
        env = "GOSSAMER_API_KEY",
        hide_env_values = true
    )]
    api_keys: Vec<String>,
    /// Load the model as this kind of embedder, "dense" or "sparse", though its files say that it is something else
    #[arg(long, value_parser = source::kind)]
    kind: Option<Kind>,
    /// How weights are held; auto: as the model was quantised by `gossamer quantize`, else q8
    #[arg(long, value_enum, default_value = "auto")]
    dtype: Dtype,
    /// What the models run on; a GPU's results are compared with the CPU's first
    #[arg(long, value_enum, default_value = "cpu")]
    device: Device,
    /// Whose errors /v1/embeddings answers with
    #[arg(long, value_enum, default_value = "openai")]
    dialect: ErrorsOf,
    /// An origin of web pages that may ask, or *; several may be given
    #[arg(long, value_name = "ORIGIN")]
    cors: Vec<String>,
    /// Threads of each model; by default one for each core
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Requests that may be under way or wait; further ones are answered with 429
    #[arg(long, default_value_t = 512)]
    max_requests: usize,
    /// Seconds after which a request is given up; by default never
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// The largest body that is read; larger ones are answered with 413
    #[arg(long, default_value_t = 16 << 20, value_name = "BYTES")]
    max_body_bytes: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    Auto,
    F32,
    F16,
    Q8,
    Q4,
}

#[derive(Clone, Copy, ValueEnum)]
enum Device {
    Cpu,
    Gpu,
}

#[derive(Clone, Copy, ValueEnum)]
enum ErrorsOf {
    #[value(name = "openai")]
    OpenAi,
    #[value(name = "sambanova")]
    SambaNova,
    Tei,
}

/// What all requests share.
struct Server {
    /// The first is the default one.
    models: Vec<(String, Model)>,
    options: http::Options,
    requests: Arc<AtomicUsize>,
    max_requests: usize,
    timeout: Option<Duration>,
    max_body_bytes: usize,
}

/// Serves until the process is told to end (SIGINT, SIGTERM), and then answers what has been asked.
pub fn run(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("no threads for the server")?;
    let address = (options.host, options.port);
    let server = Server::load(options)?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("port {} of {} cannot be listened on", address.1, address.0)
        })?;
        println!("listening on http://{}", listener.local_addr()?);
        let router = Router::new().fallback(answer).with_state(Arc::new(server));
        let serving = axum::serve(listener, router).with_graceful_shutdown(told_to_end());
        serving.await.context("the server stopped")
    })
}

async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupted = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
        }
        Err(_) => drop(interrupted.await),
    }
    println!("ending: requests that are under way are answered first");
}

impl Server {
    fn load(options: Options) -> Result<Self> {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = options.threads.unwrap_or_else(cores).get();
        let dtype = match options.dtype {
            Dtype::Auto => None,
            Dtype::F32 => Some(WeightDtype::F32),
            Dtype::F16 => Some(WeightDtype::F16),
            Dtype::Q8 => Some(WeightDtype::Q8),
            Dtype::Q4 => Some(WeightDtype::Q4),
        };
        if options.file.is_some() && options.models.len() > 1 {
            bail!("--file is for a single model: give one --model");
        }
        let mut models: Vec<(String, Model)> = Vec::new();
        for model in &options.models {
            let (name, source) = name_and_source(model);
            if models.iter().any(|(other, _)| other == name) {
                bail!("two models are called {name}: give one another name with NAME={source}");
            }
            let (backend, threads) = match options.device {
                Device::Cpu => (Either::cpu(), threads),
                // One thread keeps it busy, and larger batches are what it is good at.
                Device::Gpu => (Either::gpu(pollster::block_on(Gpu::open())?, false), 1),
            };
            let file = options.file.as_deref();
            let embedder = source::load(backend, source, name, dtype, file, options.kind, false)?;
            if let Some(gpu) = embedder.backend().device() {
                pollster::block_on(embedder.check())?;
                println!("{name} runs on {}", gpu.name());
            }
            let space = embedder.space_id();
            println!(
                "loaded {name}: {} dimensions, {space}",
                embedder.dimensions()
            );
            models.push((name.to_owned(), Model::start(embedder, threads)?));
        }
        let names = models.iter().map(|(name, _)| name.clone()).collect();
        let options_of_all = http::Options {
            dialect: match options.dialect {
                ErrorsOf::OpenAi => Dialect::OpenAi,
                ErrorsOf::SambaNova => Dialect::SambaNova,
                ErrorsOf::Tei => Dialect::Tei,
            },
            api_keys: options.api_keys,
            models: names,
            cors: options.cors,
            refuse: None,
        };
        Ok(Self {
            models,
            options: options_of_all,
            requests: Arc::default(),
            max_requests: options.max_requests,
            timeout: options.timeout.map(Duration::from_secs),
            max_body_bytes: options.max_body_bytes,
        })
    }

    /// The model that a request is for, and why it is refused if it is for another.
    fn choose(&self, wanted: Option<&str>) -> (&Model, Option<Refusal>) {
        let default = &self.models[0].1;
        match wanted {
            Some(wanted) if self.models.len() > 1 => {
                match self.models.iter().find(|(name, _)| name == wanted) {
                    Some((_, model)) => (model, None),
                    None => (default, Some(Refusal::UnknownModel)),
                }
            }
            _ => (default, None),
        }
    }

    async fn ask(&self, request: http::Request, refuse: Option<Refusal>) -> Option<http::Response> {
        let size = request.body.len();
        let incoming = Incoming::from(request);
        let (model, unknown) = self.choose(incoming.model());
        let mut options = self.options.clone();
        options.refuse = refuse.or(unknown);
        model.answer(incoming, options, size).await
    }

    async fn answer(&self, request: Request) -> Option<http::Response> {
        let (parts, body) = request.into_parts();
        let text = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.as_str().to_owned(), value.into_owned())
        };
        let headers: BTreeMap<String, String> = parts.headers.iter().map(text).collect();
        let mut request = http::Request {
            method: parts.method.as_str().to_owned(),
            path: parts.uri.path().to_owned(),
            headers,
            body: String::new(),
        };
        match axum::body::to_bytes(body, self.max_body_bytes).await {
            Ok(bytes) => request.body = String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => return self.ask(request, Some(Refusal::TooLarge)).await,
        }
        let under_way = Share::of(&self.requests, 1);
        if under_way.others >= self.max_requests {
            return self.ask(request, Some(Refusal::Overloaded)).await;
        }
        let Some(timeout) = self.timeout else {
            return self.ask(request, None).await;
        };
        match tokio::time::timeout(timeout, self.ask(request.clone(), None)).await {
            Ok(response) => response,
            Err(_) => self.ask(request, Some(Refusal::TimedOut)).await,
        }
    }
}

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    // Only if a thread has panicked.
    let Some(answer) = server.answer(request).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let response = response.body(Body::from(answer.body));
    response.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// `NAME=SOURCE`, or a source; the name of a folder is its last part.
fn name_and_source(model: &str) -> (&str, &str) {
    let folder = std::path::Path::new(model);
    if folder.is_dir() {
        let name = folder.file_name().and_then(|name| name.to_str());
        return (name.unwrap_or(model), model);
    }
    model.split_once('=').unwrap_or((model, model))
}
