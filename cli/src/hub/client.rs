//! Requests to the Hub. Redirects are followed here, so that the token is sent only to the host
//! that it is for.

use std::fmt;
use std::io::Read;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use ureq::http::HeaderMap;
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, BodyReader};
use url::Url;

use super::settings::Settings;

/// The most attempts without progress.
pub const TRIES: u32 = 4;
/// The pause before the second attempt. Each further pause is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The time limit for connecting to a host.
const CONNECT: Duration = Duration::from_secs(15);
/// The time limit for the next bytes of a response.
const STALL: Duration = Duration::from_secs(30);
/// The most redirects of a request.
const REDIRECTS: usize = 10;
/// Statuses of temporary failures, after which the request is sent again.
const PASSING: [u16; 7] = [408, 425, 429, 500, 502, 503, 504];

/// Why a request failed.
#[derive(Debug)]
pub enum Failure {
    /// The network failed, or the server violated the protocol.
    Network(String),
    /// The status of the response is no success; with the reason that the server gives.
    Status(u16, String),
    /// The server asked for something that is not safe, such as a redirect without TLS.
    Refused(String),
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Network(message) | Self::Refused(message) => out.write_str(message),
            Self::Status(status, message) => write!(out, "HTTP {status}: {message}"),
        }
    }
}

/// A response of any status.
pub struct Answer {
    pub status: u16,
    headers: HeaderMap,
    body: BodyReader<'static>,
    /// The commit of the file, as the Hub says.
    pub commit: Option<String>,
    /// The `ETag` of the file at the Hub, which is its hash.
    pub etag: Option<String>,
}

/// Sends requests to the Hub.
pub struct Client {
    agent: Agent,
    endpoint: Url,
    /// `None` after the Hub has refused the token and answered without it.
    token: Mutex<Option<String>>,
}

impl Client {
    /// A client with these settings.
    pub fn new(settings: &Settings) -> Result<Self> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("gossamer/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(STALL))
            .timeout_per_write(Some(STALL));
        if let Some(file) = &settings.certificates {
            let certificates = certificates(file)
                .with_context(|| format!("SSL_CERT_FILE: {} cannot be read", file.display()))?;
            config = config.tls_config(TlsConfig::builder().root_certs(certificates).build());
        }
        Ok(Self {
            agent: config.build().new_agent(),
            endpoint: settings.endpoint.clone(),
            token: Mutex::new(settings.token.clone()),
        })
    }

    /// Builds an address of the Hub. Characters of segments are escaped, so that each stays one
    /// segment.
    pub fn address(&self, segments: &[&str], query: Option<&str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url.set_query(query);
        url
    }

    /// Requests an address, from a byte on. If the token is refused, sends the request without it.
    pub fn get(&self, url: &Url, from: u64) -> Result<Answer, Failure> {
        let token = self.token.lock().ok().and_then(|token| token.clone());
        let answer = self.patient(url, from, token.as_deref())?;
        if answer.status != 401 || token.is_none() {
            return Ok(answer);
        }
        let reason = answer.reason();
        let without = self.patient(url, from, None)?;
        if !(200..300).contains(&without.status) {
            let message = format!("the token (HF_TOKEN) is refused: {reason}");
            return Err(Failure::Status(401, message));
        }
        eprintln!("gossamer: the Hub refuses the token (HF_TOKEN): {reason}; going on without it");
        if let Ok(mut token) = self.token.lock() {
            *token = None;
        }
        Ok(without)
    }

    /// Sends a request, and repeats it after temporary failures.
    fn patient(&self, url: &Url, from: u64, token: Option<&str>) -> Result<Answer, Failure> {
        for tries in 1.. {
            let result = self.follow(url, from, token);
            let pause = match &result {
                Ok(answer) if PASSING.contains(&answer.status) => {
                    answer.retry_after().unwrap_or_else(|| pause(tries))
                }
                Err(Failure::Network(_)) => pause(tries),
                _ => return result,
            };
            if tries == TRIES || pause > LONGEST_PAUSE {
                return result;
            }
            std::thread::sleep(pause);
        }
        unreachable!("the last try returns");
    }

    /// Sends a request and follows redirects. The token is no longer sent after the first redirect
    /// that leaves the Hub's origin (scheme, host and port).
    fn follow(&self, start: &Url, from: u64, token: Option<&str>) -> Result<Answer, Failure> {
        let mut url = start.clone();
        let mut token = token;
        let (mut commit, mut etag) = (None, None);
        for _ in 0..=REDIRECTS {
            let at_home = url.origin() == self.endpoint.origin();
            token = token.filter(|_| at_home);
            let mut request = self.agent.get(url.as_str());
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|error| {
                Failure::Network(format!("{} cannot be reached: {error}", shown(&url)))
            })?;
            let (parts, body) = response.into_parts();
            let header = |name: &str| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
            if at_home {
                commit = commit.or_else(|| header("x-repo-commit"));
                etag = header("x-linked-etag").or(etag);
            }
            let status = parts.status.as_u16();
            match header("location") {
                Some(location) if matches!(status, 301 | 302 | 303 | 307 | 308) => {
                    url = redirected(&url, &location)?;
                }
                _ => {
                    etag = etag.or_else(|| header("etag").filter(|_| at_home));
                    return Ok(Answer {
                        status,
                        headers: parts.headers,
                        body: body.into_reader(),
                        commit,
                        etag,
                    });
                }
            }
        }
        Err(Failure::Refused(format!(
            "{} is redirected more than {REDIRECTS} times",
            shown(start)
        )))
    }
}

impl Answer {
    /// Returns the reason that a server gives for its status: the Hub in a header, others in the
    /// body.
    pub fn reason(mut self) -> String {
        let mut text = self.header("x-error-message").unwrap_or_default();
        if text.is_empty() {
            let mut start = Vec::new();
            // If the body is interrupted, its beginning is shown.
            let _ = self.by_ref().take(1000).read_to_end(&mut start);
            text = String::from_utf8_lossy(&start).into_owned();
            if let Ok(json) = serde_json::from_str::<serde_json::Value>(&text)
                && let Some(error) = json["error"].as_str()
            {
                error.clone_into(&mut text);
            }
        }
        let clean: String = text.chars().filter(|letter| !letter.is_control()).collect();
        let clean: String = clean.trim().chars().take(300).collect();
        if clean.is_empty() || clean.starts_with('<') {
            return "it does not say why".to_owned();
        }
        clean
    }

    /// Returns a header.
    pub fn header(&self, name: &str) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }

    /// Returns the position of the first byte of a partial response.
    pub fn start(&self) -> Option<u64> {
        let range = self.header("content-range")?;
        let (start, _) = range.strip_prefix("bytes ")?.split_once('-')?;
        start.parse().ok()
    }

    /// Returns the pause that the server asks for.
    fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header("retry-after")?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.body.read(buffer)
    }
}

/// Returns the pause after a number of attempts.
pub fn pause(tries: u32) -> Duration {
    PAUSE * 2_u32.pow(tries.min(6) - 1)
}

/// Returns the target of a redirect. Errors if it is not safe to follow.
fn redirected(from: &Url, location: &str) -> Result<Url, Failure> {
    let refuse = |why: &str| Failure::Refused(format!("{} is redirected to {why}", shown(from)));
    let mut url = from
        .join(location)
        .map_err(|_| refuse("what is no address"))?;
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => {
            return Err(refuse("an address without TLS (http): it is not followed"));
        }
        _ => return Err(refuse("what is neither http nor https")),
    }
    // A name and a password in the address are not sent.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(url)
}

/// Returns an address for messages: without a query, which may have a signature, and without a name
/// and password.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// Reads a file of PEM certificates.
fn certificates(file: &std::path::Path) -> Result<RootCerts> {
    let pem = std::fs::read(file)?;
    let mut certificates = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item? {
            certificates.push(certificate);
        }
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_relative_or_not_and_never_lose_tls() {
        let from = Url::parse("https://hub.example/a/resolve/main/x?y=1").expect("an address");
        for (location, to) in [
            ("/b/x", "https://hub.example/b/x"),
            ("y", "https://hub.example/a/resolve/main/y"),
            ("//cdn.example/x?s=1", "https://cdn.example/x?s=1"),
            ("https://u:p@cdn.example/x", "https://cdn.example/x"),
        ] {
            let url = redirected(&from, location).expect("it is followed");
            assert_eq!(url.as_str(), to);
        }
        for (location, part) in [
            ("http://hub.example/b/x", "without TLS"),
            ("file:///etc/passwd", "neither http nor https"),
            ("https://", "no address"),
        ] {
            let error = redirected(&from, location).expect_err(location).to_string();
            assert!(error.contains(part) && !error.contains("y=1"), "{error}");
        }
        let plain = Url::parse("http://hub.example/x").expect("an address");
        assert!(redirected(&plain, "https://hub.example/x").is_ok());
    }
}
