//! Connections: limits of their number and their times, and how they end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

/// The time between two checks of the connections.
const LOOK: Duration = Duration::from_millis(250);
/// The time for a head that is arriving when the server stops.
const LAST_HEADS: Duration = Duration::from_secs(1);
/// The largest head of a request, in bytes.
const HEAD: usize = 64 << 10;

/// Limits of connections.
pub struct Limits {
    /// The most open connections.
    pub connections: usize,
    /// The time within which the head of a request must arrive.
    pub head: Duration,
    /// The time without a request, or without the client reading any of a response.
    pub idle: Duration,
    /// The time for the requests under way when the server is told to stop.
    pub shutdown: Duration,
}

/// The state of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Doing {
    /// It is new, or the head of a request is arriving.
    Head,
    /// The body of a request is arriving.
    Body,
    /// A response is being computed.
    Answer,
    /// A response is being written, or the next request is awaited.
    Idle,
    /// It is being closed.
    Closing,
}

/// An open connection.
pub struct Connection {
    opened: Instant,
    /// A [`Doing`].
    doing: AtomicU8,
    /// When that state began, in milliseconds from `opened`.
    since: AtomicU64,
    /// Tells the task of the connection to close it.
    close: Notify,
}

impl Connection {
    fn new() -> Self {
        Self {
            opened: Instant::now(),
            doing: AtomicU8::new(Doing::Head as u8),
            since: AtomicU64::new(0),
            close: Notify::new(),
        }
    }

    /// Sets the state of the connection, unless it is being closed.
    pub fn is(&self, doing: Doing) {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since.store(since, Ordering::Relaxed);
        let closing = Doing::Closing as u8;
        let change = |now| (now != closing).then_some(doing as u8);
        // An error means that it is being closed.
        let _ = self
            .doing
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    fn does(&self, doing: Doing) -> bool {
        self.doing.load(Ordering::Relaxed) == doing as u8
    }

    fn since(&self) -> Instant {
        self.opened + Duration::from_millis(self.since.load(Ordering::Relaxed))
    }

    fn close(&self) {
        self.is(Doing::Closing);
        self.close.notify_one();
    }
}

/// The open connections.
#[derive(Default)]
struct Open {
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Notified when a connection has ended.
    ended: Notify,
}

impl Open {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of connections that are not being closed.
    fn count(&self) -> usize {
        let all = self.all();
        all.values().filter(|one| !one.does(Doing::Closing)).count()
    }

    /// Whether there is room for one more connection, if one that waits for its client is closed.
    /// If all are being answered, the new one has to wait.
    fn has_room(&self, most: usize) -> bool {
        let all = self.all();
        let number = |doing| all.values().filter(|one| one.does(doing)).count();
        // The usual case.
        if all.len() < most {
            return true;
        }
        let (answered, closing) = (number(Doing::Answer), number(Doing::Closing));
        all.len() - closing < most || answered + closing < all.len()
    }

    /// Closes the connection that has waited the longest for its client.
    fn close_oldest(&self) {
        let all = self.all();
        let waiting = all
            .values()
            .filter(|one| !one.does(Doing::Answer) && !one.does(Doing::Closing));
        if let Some(oldest) = waiting.min_by_key(|one| one.since()) {
            oldest.close();
        }
    }

    /// Closes the connections that exceed a time limit.
    fn close_late(&self, head: Duration, idle: Duration) {
        for one in self.all().values() {
            let time = one.since().elapsed();
            if (one.does(Doing::Head) && time > head) || (one.does(Doing::Idle) && time > idle) {
                one.close();
            }
        }
    }
}

/// Answers the requests of connections until the process is told to stop (SIGINT, SIGTERM). Then it
/// answers the requests under way, within the time limit for that.
pub async fn serve<F, A>(listener: TcpListener, limits: Limits, answer: F) -> Result<()>
where
    F: Fn(Request<Incoming>, Arc<Connection>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send,
{
    let mut signals = Signals::new().context("signals cannot be listened to")?;
    let open = Arc::new(Open::default());
    let (ending, told) = watch::channel(false);
    let mut look = tokio::time::interval(LOOK);
    let mut number = 0;
    // After an error, no connection is accepted until the next check.
    let mut able = true;
    loop {
        let accepts = able && open.has_room(limits.connections);
        tokio::select! {
            _ = signals.next() => break,
            _ = look.tick() => {
                open.close_late(limits.head, limits.idle);
                able = true;
            }
            () = open.ended.notified(), if !accepts => able = true,
            accepted = listener.accept(), if accepts => {
                let Ok((stream, _)) = accepted else {
                    // The file descriptors may have run out.
                    open.close_oldest();
                    able = false;
                    continue;
                };
                if open.count() >= limits.connections {
                    open.close_oldest();
                }
                number += 1;
                let connection = Arc::new(Connection::new());
                open.all().insert(number, Arc::clone(&connection));
                let (open, answer, told) = (Arc::clone(&open), answer.clone(), told.clone());
                tokio::spawn(async move {
                    attend(stream, &connection, answer, told).await;
                    open.all().remove(&number);
                    open.ended.notify_one();
                });
            }
        }
    }
    drop(listener);
    println!("ending: requests that are under way are answered first");
    let _ = ending.send(true);
    let deadline = tokio::time::sleep(limits.shutdown);
    let mut deadline = pin!(deadline);
    loop {
        let left = open.all().len();
        if left == 0 {
            return Ok(());
        }
        tokio::select! {
            number = signals.next() => std::process::exit(128 + number),
            () = &mut deadline => {
                println!("ended: {left} connections were not done in time");
                return Ok(());
            }
            () = open.ended.notified() => {}
            _ = look.tick() => open.close_late(LAST_HEADS, limits.idle),
        }
    }
}

/// Answers the requests of one connection.
async fn attend<F, A>(
    stream: TcpStream,
    connection: &Arc<Connection>,
    answer: F,
    mut told: watch::Receiver<bool>,
) where
    F: Fn(Request<Incoming>, Arc<Connection>) -> A,
    A: Future<Output = Response<Full<Bytes>>>,
{
    // Responses are sent at once, not collected into larger packets.
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(Watched {
        stream,
        connection: Arc::clone(connection),
    });
    let service = service_fn(|request| {
        let answer = answer(request, Arc::clone(connection));
        async { Ok::<_, Infallible>(answer.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // hyper would count the time between requests too; `close_late` does not.
        .header_read_timeout(None)
        .max_header_size(HEAD)
        .serve_connection(stream, service);
    let mut served = pin!(served);
    loop {
        tokio::select! {
            // An error here is the client's.
            _ = served.as_mut() => return,
            () = connection.close.notified() => return,
            Ok(()) = told.changed() => served.as_mut().graceful_shutdown(),
        }
    }
}

/// A stream that updates the state of its connection when bytes are read or written.
struct Watched {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before && self.connection.does(Doing::Idle) {
            self.connection.is(Doing::Head);
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(result, Poll::Ready(Ok(_))) && self.connection.does(Doing::Idle) {
            self.connection.is(Doing::Idle);
        }
        result
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The signals that tell the process to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal, and returns its number.
    async fn next(&mut self) -> i32 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        };
        kind.as_raw_value()
    }
}
