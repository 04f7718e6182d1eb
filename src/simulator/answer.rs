//! One request as the rooms see it, and what can become of it: an answer, a cut
//! connection, silence, or an answer that drips.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use bytes::Bytes;
use serde_json::Value;

/// A request whose body has been read.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// `http://` and the host that the client used, for the links in answers.
    pub(crate) origin: String,
}

impl Call {
    pub(crate) fn new(method: Method, uri: &Uri, headers: HeaderMap, body: Bytes, address: &str) -> Self {
        let query = url::form_urlencoded::parse(uri.query().unwrap_or("").as_bytes()).into_owned().collect();
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or(address);
        let origin = format!("http://{host}");
        Self { method, path: uri.path().to_owned(), query, headers, body, origin }
    }

    /// The path's pieces, without empty ones.
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|piece| !piece.is_empty()).collect()
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What becomes of a request.
pub(crate) enum Answer {
    /// An ordinary answer.
    Reply(Response<Body>),
    /// The connection is cut, without a byte.
    Cut,
    /// Nothing, for ever.
    Hang,
    /// The answer a few bytes at a time.
    Drip(Response<Body>),
}

impl Answer {
    /// A JSON document.
    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self::Reply(json(status, value))
    }

    /// The page that a proxy at the edge answers with.
    pub(crate) fn edge_page() -> Self {
        let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1>\
                    </center>\r\n<hr><center>edge</center>\r\n</body>\r\n</html>\r\n";
        Self::Reply(with_type(502, "text/html", page))
    }

    /// Success, with a document that breaks off.
    pub(crate) fn unreadable() -> Self {
        Self::Reply(with_type(200, "application/json", "{\"code\":0,\"message\":\"SUCC"))
    }

    /// Adds a header; one that cannot be written is left out.
    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let (Self::Reply(reply) | Self::Drip(reply), Ok(value)) = (&mut self, HeaderValue::from_str(value)) {
            reply.headers_mut().insert(name, value);
        }
        self
    }
}

/// A JSON document as a response.
pub(crate) fn json(status: u16, value: &Value) -> Response<Body> {
    with_type(status, "application/json", value.to_string())
}

/// A body of a media type as a response.
pub(crate) fn with_type(status: u16, media_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
