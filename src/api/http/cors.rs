//! Cross-origin requests (the Fetch standard's CORS protocol): refused by browsers unless an answer allows them.

use super::{Request, Response};

/// What a request's origin is told.
pub struct Cors {
    /// The origin that may read the answer.
    origin: Option<String>,
    /// The headers that a preflight asks for, empty if for none; `None`: it is no preflight.
    preflight: Option<String>,
}

impl Cors {
    /// `allowed` are the origins that may ask, or `*`.
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

    /// The answer to a browser that asks whether it may ask.
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

    /// Lets the origin read an answer.
    pub fn add_to(self, response: &mut Response) {
        if let Some(origin) = self.origin {
            response.headers.extend([
                ("access-control-allow-origin", origin),
                ("vary", "origin".to_owned()),
            ]);
        }
    }
}
