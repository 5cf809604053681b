//! Cross-origin requests (the CORS protocol of the Fetch standard). Browsers block the responses of
//! other origins unless their headers allow them.

use super::message::{Request, Response};

/// What the response tells the origin of a request.
pub struct Cors {
    /// The origin that may read the response.
    origin: Option<String>,
    /// The headers that a preflight asks for, possibly empty; `None`: the request is no preflight.
    preflight: Option<String>,
}

impl Cors {
    /// `allowed` are the origins that may send requests; `*` allows all.
    pub fn new(request: &Request, allowed: &[String]) -> Self {
        let header = |name: &str| request.headers.get(name).cloned();
        let any = allowed.iter().any(|one| one == "*");
        let origin = header("origin").filter(|origin| any || allowed.contains(origin));
        let asks = request.method == "OPTIONS"
            && origin.is_some()
            && request
                .headers
                .contains_key("access-control-request-method");
        Self {
            origin,
            preflight: asks.then(|| header("access-control-request-headers").unwrap_or_default()),
        }
    }

    /// Returns the response to a preflight; `None` if the request is none.
    pub fn preflight(&self) -> Option<Response> {
        let headers = self.preflight.as_ref()?;
        let mut response = Response::empty(204);
        response.headers.extend([
            ("access-control-allow-methods", "GET, POST".to_owned()),
            ("access-control-max-age", "86400".to_owned()),
        ]);
        if !headers.is_empty() {
            let allow = ("access-control-allow-headers", headers.clone());
            response.headers.extend([allow]);
        }
        Some(response)
    }

    /// Adds the headers that let the origin read a response.
    pub fn add_to(self, response: &mut Response) {
        if let Some(origin) = self.origin {
            response.headers.extend([
                ("access-control-allow-origin", origin),
                ("vary", "origin".to_owned()),
            ]);
        }
    }
}
