//! A server of all wire formats in one thread:
//! `cargo run --release --example serve -- FOLDER [PORT]`
//!
//! `gossamer serve` is this with limits, several models and a queue. Requests are answered one
//! after another here.

use std::convert::Infallible;
use std::error::Error;
use std::rc::Rc;

use gossamer::api::http::{Exchange, Options, Request, Response, admit};
use gossamer::{Cpu, Embedder, LoadOptions, Loader};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The largest body that is read, in bytes.
const MAX_BODY: usize = 2 << 20;
/// The most bytes of a refused body that are read and dropped. A client that is still sending when
/// the connection closes may not see the response.
const MAX_REFUSED_BODY: usize = 32 << 20;

type Model = Embedder<Cpu>;

/// Answers one request.
async fn answer(model: &Model, request: hyper::Request<Incoming>) -> Response {
    let (parts, body) = request.into_parts();
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), value.into_owned())
    };
    let mut request = Request {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        headers: parts.headers.iter().map(header).collect(),
        body: Vec::new(),
    };
    let options = Options {
        max_body_bytes: Some(MAX_BODY as u64),
        ..Options::default()
    };
    // Unknown routes, wrong keys and announced sizes are answered before the body is read.
    if let Some(response) = admit(&request, &options) {
        let mut rest = Limited::new(body, MAX_REFUSED_BODY);
        while let Some(Ok(_)) = rest.frame().await {}
        return response;
    }
    // A body that is longer than it said, or that breaks off, is read as an empty one, which is
    // refused.
    if let Ok(body) = Limited::new(body, MAX_BODY).collect().await {
        request.body = body.to_bytes().to_vec();
    }
    let mut exchange = Exchange::start(model, request.into(), &options);
    while !exchange.step_with(model, &mut []) {
        // Each step is one forward pass. Other connections get their turn in between.
        tokio::task::yield_now().await;
    }
    exchange.finish()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: serve FOLDER [PORT]")?;
    let port = arguments.next().map_or(Ok(8080), |port| port.parse())?;
    let options = LoadOptions {
        model: folder.clone(),
        ..LoadOptions::default()
    };
    let model = Rc::new(Loader::new(Cpu::new(), options).read_dir(folder.as_ref())?);

    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let connections = tokio::task::LocalSet::new();
    connections
        .run_until(async {
            loop {
                let (stream, _) = listener.accept().await?;
                let model = Rc::clone(&model);
                let service = service_fn(move |request| {
                    let model = Rc::clone(&model);
                    async move {
                        let answered = answer(&model, request).await;
                        let mut response = hyper::Response::new(Full::from(answered.body));
                        *response.status_mut() = hyper::StatusCode::from_u16(answered.status)
                            .unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
                        for (name, value) in answered.headers {
                            if let Ok(value) = value.parse() {
                                response.headers_mut().insert(name, value);
                            }
                        }
                        Ok::<hyper::Response<Full<Bytes>>, Infallible>(response)
                    }
                });
                tokio::task::spawn_local(async move {
                    // A connection that breaks concerns nobody else.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        })
        .await
}
