//! `gossamer serve`: an HTTP server around `gossamer::api::http`.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use gossamer::api::http::{self, Dialect, Incoming, Refusal};
use gossamer::{Either, Gpu, LoadOptions, Threads};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper::{StatusCode, header};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

use crate::connections::{self, Connection, Doing, Limits};
use crate::model::{Model, Share};
use crate::source;

/// After an early response, the rest of the body is read and discarded, up to this many bytes and
/// this time. Otherwise a client that is still sending would not see the response.
const UNWANTED: usize = 32 << 20;
const UNWANTED_TIME: Duration = Duration::from_secs(5);
/// File descriptors that are kept for other things than connections.
const OTHER_FILES: u64 = 128;
/// The most connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// The arguments of `gossamer serve`.
#[derive(Args)]
pub struct Options {
    /// A model: its id on the Hugging Face Hub (owner/name, owner/name@revision) or a folder;
    /// NAME=… gives it another name. If several are given, requests choose by name, and the first
    /// one that gives the kind of vectors answers requests without a name. A single one answers to
    /// any name
    #[arg(long = "model", required = true, value_name = "[NAME=]SOURCE")]
    models: Vec<String>,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1", env = "GOSSAMER_HOST")]
    host: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080, env = "GOSSAMER_PORT")]
    port: u16,
    /// A key that requests must have; several may be given. By default no key is needed
    #[arg(
        long = "api-key",
        value_name = "KEY",
        env = "GOSSAMER_API_KEY",
        hide_env_values = true
    )]
    api_keys: Vec<String>,
    #[command(flatten)]
    stated: source::Stated,
    /// How weights are stored in memory; auto: as `gossamer quantize` wrote them, else q8
    #[arg(long, value_enum, default_value = "auto")]
    dtype: source::Dtype,
    /// What the models run on; the results of a GPU are first compared with those of the CPU
    #[arg(long, value_enum, default_value = "cpu")]
    device: Device,
    /// Whose errors /v1/embeddings reports
    #[arg(long, value_enum, default_value = "openai")]
    dialect: ErrorsOf,
    /// An origin of web pages that may send requests, or *; several may be given
    #[arg(long, value_name = "ORIGIN")]
    cors: Vec<String>,
    /// Threads that answer requests, 1 to 256; by default one per core. A request uses all of them
    /// where no other is under way
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// The most requests under way; further ones are answered with 429
    #[arg(long, default_value_t = 512)]
    max_requests: usize,
    /// Seconds after which a request is given up, counted from its head; by default never
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Seconds within which the head of a request must arrive, and then its body
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    read_timeout: u64,
    /// Seconds after which a connection without a request is closed
    #[arg(long, default_value_t = 75, value_name = "SECONDS")]
    idle_timeout: u64,
    /// Seconds for the requests that are under way when the server is told to stop
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    shutdown_timeout: u64,
    /// The most open connections; beyond them, the one that has waited the longest for its client
    /// is closed. By default 4096, or as many as the limit of open files allows
    #[arg(long)]
    max_connections: Option<NonZeroUsize>,
    /// The largest body; larger ones are answered with 413
    #[arg(long, default_value_t = 2 << 20, value_name = "BYTES")]
    max_body_bytes: usize,
    /// The most bytes of all bodies under way; beyond them, requests are answered with 429
    #[arg(long, default_value_t = 64 << 20, value_name = "BYTES")]
    max_bodies_bytes: usize,
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
    /// By name.
    models: Vec<(String, Model)>,
    options: http::Options,
    /// The number of requests under way.
    requests: Arc<AtomicUsize>,
    max_requests: usize,
    timeout: Option<Duration>,
    read_timeout: Duration,
    max_body_bytes: usize,
    /// The bytes of all bodies under way.
    bodies: Arc<AtomicUsize>,
    max_bodies_bytes: usize,
}

/// Serves until the process is told to stop (SIGINT, SIGTERM), and then answers the requests under
/// way.
pub fn run(options: Options) -> Result<()> {
    let keys = options.api_keys.iter().map(|key| key.trim().to_owned());
    let keys: Vec<String> = keys.collect();
    ensure!(
        keys.iter().all(|key| !key.is_empty()),
        "an API key is empty: give --api-key (or GOSSAMER_API_KEY) a key, or leave it out to let everybody in"
    );
    let options = Options {
        api_keys: keys,
        ..options
    };
    let runtime = tokio::runtime::Runtime::new().context("no threads for the server")?;
    let limits = Limits {
        connections: options
            .max_connections
            .map_or_else(default_connections, NonZeroUsize::get),
        head: Duration::from_secs(options.read_timeout),
        idle: Duration::from_secs(options.idle_timeout),
        shutdown: Duration::from_secs(options.shutdown_timeout),
    };
    let address = SocketAddr::new(options.host, options.port);
    let taken = || {
        format!(
            "port {} of {} cannot be listened on",
            address.port(),
            address.ip()
        )
    };
    // The address is taken before the models are loaded, which takes long. Clients can connect only
    // after that, when the socket listens.
    let socket = bind(address).with_context(taken)?;
    let server = Arc::new(Server::load(options)?);
    let result = runtime.block_on(async {
        let listener: TcpListener = socket.listen(BACKLOG).with_context(taken)?;
        println!("listening on http://{}", listener.local_addr()?);
        let answer = move |request, connection| answer(Arc::clone(&server), request, connection);
        connections::serve(listener, limits, answer).await
    });
    // Requests that are not done by now are given up.
    runtime.shutdown_background();
    result
}

/// Creates a socket with this address.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Without this, old connections of a server that has just stopped would block the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Returns the most connections that the limit of open files allows, within 16 to 4096.
fn default_connections() -> usize {
    use rustix::process::{Resource, getrlimit};
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = files.saturating_sub(OTHER_FILES).clamp(16, 4096);
    usize::try_from(most).unwrap_or(usize::MAX)
}

impl Server {
    fn load(options: Options) -> Result<Self> {
        let threads = source::threads(options.threads);
        let dtype = options.dtype.chosen();
        if options.stated.file.is_some() && options.models.len() > 1 {
            bail!("--file is for a single model: give one --model");
        }
        // All models share them.
        let shared = match options.device {
            Device::Cpu => Threads::new(threads).context("--threads")?,
            Device::Gpu => Threads::default(),
        };
        let mut models: Vec<(String, Model)> = Vec::new();
        for model in &options.models {
            let (name, source) = name_and_source(model);
            if models.iter().any(|(other, _)| *other == name) {
                bail!("two models are called {name}: give one another name with NAME={source}");
            }
            let threads = match options.device {
                Device::Cpu => threads,
                // One thread keeps a GPU busy, and makes larger batches.
                Device::Gpu => 1,
            };
            let backend = || {
                Ok(match options.device {
                    Device::Cpu => Either::cpu(shared.clone()),
                    Device::Gpu => Either::gpu(pollster::block_on(Gpu::open())?, false),
                })
            };
            let load = options.stated.add_to(LoadOptions {
                model: name.clone(),
                dtype,
                ..LoadOptions::default()
            });
            let embedder = source::load(backend, source, load)?;
            if let Some(gpu) = embedder.backend().device() {
                pollster::block_on(embedder.check())?;
                println!("{name} runs on {}", gpu.name());
            }
            let space = embedder.space_id();
            println!(
                "loaded {name}: {} dimensions, {space}",
                embedder.dimensions()
            );
            models.push((name, Model::start(embedder, threads)?));
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
            max_body_bytes: u64::try_from(options.max_body_bytes).ok(),
            max_requests: Some(options.max_requests),
            ..http::Options::default()
        };
        Ok(Self {
            models,
            options: options_of_all,
            requests: Arc::default(),
            max_requests: options.max_requests,
            timeout: options.timeout.map(Duration::from_secs),
            read_timeout: Duration::from_secs(options.read_timeout),
            max_body_bytes: options.max_body_bytes,
            bodies: Arc::default(),
            max_bodies_bytes: options.max_bodies_bytes,
        })
    }

    /// Returns the model that a request names. If it names none, returns the first model that gives
    /// the kind of output that it asks for. `None`: there is no model of that name.
    fn choose(&self, request: &http::Request) -> Option<&Model> {
        if let [(_, only)] = self.models.as_slice() {
            return Some(only);
        }
        let incoming = Incoming::from(request.clone());
        let mut models = self.models.iter();
        let found = if let Some(wanted) = incoming.model() {
            models.find(|(name, _)| name == wanted)
        } else {
            let kind = incoming.kind();
            let gives =
                |model: &Model| kind.is_none_or(|kind| model.service().outputs().contains(&kind));
            let default = models.clone().find(|(_, model)| gives(model));
            default.or(models.next())
        };
        found.map(|(_, model)| model)
    }

    /// Answers a request. Its body is read only if its head allows it, and if there is room for it.
    async fn answer(
        &self,
        mut head: http::Request,
        body: &mut (impl Body<Data = Bytes> + Unpin),
        connection: &Connection,
    ) -> http::Response {
        let mut options = self.options.clone();
        options.under_way = self.requests.load(Ordering::Relaxed);
        if let Some(response) = http::admit(&head, &options) {
            return response;
        }
        if head.method != "POST" {
            // Such a response is ready at once, and needs no thread of the model.
            let model = self.choose(&head);
            return model.map_or_else(|| empty(500), |model| model.answer_now(&head, &options));
        }
        let head_alone = head.clone();
        let work = async {
            if self.requests.load(Ordering::Relaxed) >= self.max_requests {
                return Err(Refusal::Overloaded);
            }
            let mut budget = Share::of(&self.bodies, 0);
            head.body = timeout(self.read_timeout, self.read(body, &mut budget))
                .await
                .map_err(|_| Refusal::TimedOut)??;
            connection.is(Doing::Answer);
            let place = Share::of(&self.requests, 1);
            if place.others >= self.max_requests {
                return Err(Refusal::Overloaded);
            }
            let model = self.choose(&head);
            let model = model.ok_or(Refusal::UnknownModel)?;
            let answer = model.answer(head, self.options.clone()).await;
            answer.ok_or(Refusal::Failed)
        };
        let result = match self.timeout {
            Some(time) => timeout(time, work).await.unwrap_or(Err(Refusal::TimedOut)),
            None => work.await,
        };
        result.unwrap_or_else(|refusal| {
            let mut options = self.options.clone();
            options.refuse = Some(refusal);
            http::admit(&head_alone, &options).unwrap_or_else(|| empty(500))
        })
    }

    /// Reads a body, within the limits of one body and of all bodies together.
    async fn read(
        &self,
        body: &mut (impl Body<Data = Bytes> + Unpin),
        budget: &mut Share,
    ) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refusal::Incomplete)?.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > self.max_body_bytes {
                return Err(Refusal::TooLarge);
            }
            if budget.grow(data.len()) > self.max_bodies_bytes {
                return Err(Refusal::Overloaded);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }
}

/// A response without a body.
fn empty(status: u16) -> http::Response {
    http::Response {
        status,
        headers: std::collections::BTreeMap::new(),
        body: String::new(),
    }
}

/// Answers a request of a connection.
async fn answer(
    server: Arc<Server>,
    request: hyper::Request<hyper::body::Incoming>,
    connection: Arc<Connection>,
) -> hyper::Response<Full<Bytes>> {
    connection.is(Doing::Body);
    let (parts, mut body) = request.into_parts();
    let text = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), value.into_owned())
    };
    let head = http::Request {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        headers: parts.headers.iter().map(text).collect(),
        body: Vec::new(),
    };
    let answer = server.answer(head, &mut body, &connection).await;
    // A client that sent `Expect` waits before it sends the body, and gets the response instead.
    if !body.is_end_stream() && !parts.headers.contains_key(header::EXPECT) {
        tokio::spawn(timeout(UNWANTED_TIME, pass_over(body)));
    }
    connection.is(Doing::Idle);
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Full::from(answer.body)).unwrap_or_else(|_| {
        let mut response = hyper::Response::default();
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// Reads the rest of a body, and discards it.
async fn pass_over(mut body: hyper::body::Incoming) {
    let mut left = UNWANTED;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// Splits `NAME=SOURCE`. Without `NAME=`, a folder is called by its last part, and a model of the
/// Hub by its id.
fn name_and_source(model: &str) -> (String, &str) {
    let folder = Path::new(model);
    if folder.is_dir() {
        let whole = folder.canonicalize();
        let whole = whole.as_deref().unwrap_or(folder);
        let name = folder.file_name().or_else(|| whole.file_name());
        let name = name.map_or_else(|| "model".into(), |name| name.to_string_lossy());
        return (name.into_owned(), model);
    }
    let (name, source) = model.split_once('=').unwrap_or((model, model));
    (name.to_owned(), source)
}
