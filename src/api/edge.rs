//! What every call passes on its way in and out: a deadline that is answered as
//! one, a panic that costs its own call only, and oversize messages named as gRPC
//! names them. tonic does each of these in another way.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use http::{HeaderMap, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::error;

use super::large::{Gate, Place};
use super::status;

/// How much earlier than tonic's own, which says CANCELLED, our deadline fires.
const AHEAD: Duration = Duration::from_millis(5);

/// Wraps the services of the gRPC door.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    gate: Gate,
}

impl<S> Layer<S> for Edge {
    type Service = EdgeService<S>;

    fn layer(&self, inner: S) -> EdgeService<S> {
        EdgeService { inner, gate: self.gate.clone() }
    }
}

/// A service with the edge around it.
#[derive(Clone, Debug)]
pub struct EdgeService<S> {
    inner: S,
    gate: Gate,
}

impl<S> Service<Request<Body>> for EdgeService<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limit = timeout(request.headers());
        let place = Place::default();
        let path = request.uri().path().to_owned();
        let request = request.map(|body| self.gate.bound(&path, body, &place));
        let call = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            // A large request keeps its place until it is answered.
            let _place = place;
            let answered = match limit {
                None => call.await,
                Some(limit) => match tokio::time::timeout(limit, call).await {
                    Ok(answered) => answered,
                    Err(_) => return Ok(status::deadline().into_http()),
                },
            };
            match answered {
                Ok(response) => response.map(named_as_grpc_does),
                Err(panic) => Ok(incident(&panic_text(panic.as_ref())).into_http()),
            }
        })
    }
}

/// The time that the caller allows, a little less than it says.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    let limit = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(limit.saturating_sub(AHEAD))
}

/// tonic answers OUT_OF_RANGE for a message above the limit; gRPC's status
/// document says RESOURCE_EXHAUSTED, and that is what clients look for.
fn named_as_grpc_does(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    let out_of_range = headers.get("grpc-status").is_some_and(|code| code == "11");
    if !out_of_range || headers.contains_key("grpc-status-details-bin") {
        return response;
    }
    match Status::from_header_map(headers) {
        Some(found) if found.message().contains("message length too large") => {
            status::too_large("the message is too large: a Submit may have 24 MiB").into_http()
        }
        _ => response,
    }
}

/// Something that cannot happen: the log keeps the story, the caller a number.
pub fn incident(story: &impl Display) -> Status {
    let incident = format!("{:016x}", rand::random::<u64>());
    error!(incident, %story, "a call has panicked");
    status::bug(&incident)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_deadline_is_read_in_every_unit() {
        for (text, limit) in [
            ("1H", Some(3_599_995)),
            ("2M", Some(119_995)),
            ("3S", Some(2_995)),
            ("250m", Some(245)),
            ("10000u", Some(5)),
            ("1n", Some(0)),
            ("123456789S", None),
            ("S", None),
            ("-1S", None),
            ("", None),
            ("5x", None),
        ] {
            let headers = HeaderMap::from_iter([(
                http::header::HeaderName::from_static("grpc-timeout"),
                http::HeaderValue::from_static(text),
            )]);
            assert_eq!(timeout(&headers), limit.map(Duration::from_millis), "{text:?}");
        }
    }
}
