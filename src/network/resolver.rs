//! Resolves names for reqwest and drops what may not be called, so that the
//! address that was judged is the address that is connected to, however the name
//! answers next time.

use std::error::Error;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::guard::{Forbidden, Guard};

/// The resolver of every client that follows links from outside. Literal addresses
/// do not pass here; [`Guard::check_url`] judges those.
#[derive(Clone, Debug)]
pub struct GuardedResolver {
    guard: Guard,
    /// What names lead to in a test: one answer after another, the last for good.
    #[cfg(test)]
    script: Option<std::sync::Arc<std::sync::Mutex<Vec<SocketAddr>>>>,
}

impl GuardedResolver {
    /// A resolver that gives out what the guard permits.
    pub fn new(guard: Guard) -> Self {
        Self {
            guard,
            #[cfg(test)]
            script: None,
        }
    }

    /// A resolver whose names lead where the test says, as those of a hostile zone do.
    #[cfg(test)]
    pub fn scripted(guard: Guard, answers: &[&str]) -> Self {
        let address = |answer: &&str| SocketAddr::new(answer.parse().expect("an address"), 0);
        let script = answers.iter().rev().map(address).collect();
        Self { guard, script: Some(std::sync::Arc::new(std::sync::Mutex::new(script))) }
    }

    #[cfg(test)]
    fn answer(&self) -> Option<SocketAddr> {
        let mut script = self.script.as_ref()?.lock().expect("no test panics here");
        if script.len() > 1 { script.pop() } else { script.last().copied() }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.guard.clone();
        #[cfg(test)]
        let answer = self.answer();
        Box::pin(async move {
            let name = name.as_str();
            #[cfg(test)]
            if let Some(answer) = answer {
                return Ok(Box::new(permitted(&guard, name, [answer].into_iter())?.into_iter()) as Addrs);
            }
            let found = tokio::net::lookup_host((name, 0)).await?;
            let permitted = permitted(&guard, name, found)?;
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

fn permitted(guard: &Guard, name: &str, found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, Forbidden> {
    let permitted: Vec<_> = found.filter(|address| guard.permits_as(name, address.ip())).collect();
    if permitted.is_empty() { Err(Forbidden::Resolved) } else { Ok(permitted) }
}

/// The refusal behind a failed request, if that is why it failed: reqwest wraps
/// what the resolver says several times.
pub fn forbidden_cause(error: &reqwest::Error) -> Option<Forbidden> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
            return Some(*forbidden);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn only_what_is_permitted_is_given_out() {
        let guard = Guard::default();
        let mixed = found(&["10.0.0.1", "8.8.8.8", "::1", "169.254.169.254"]);
        assert_eq!(permitted(&guard, "v.example", mixed.into_iter()), Ok(found(&["8.8.8.8"])));
    }

    #[test]
    fn a_name_that_turns_inward_is_refused_the_next_time() {
        let guard = Guard::default();
        assert!(permitted(&guard, "v.example", found(&["8.8.8.8"]).into_iter()).is_ok());
        assert_eq!(permitted(&guard, "v.example", found(&["127.0.0.1"]).into_iter()), Err(Forbidden::Resolved));
    }

    #[tokio::test]
    async fn localhost_is_resolved_only_where_it_is_allowed() {
        let resolve = |guard| GuardedResolver::new(guard).resolve("localhost".parse().unwrap());
        let refused = resolve(Guard::default()).await.err().unwrap();
        assert_eq!(refused.downcast_ref(), Some(&Forbidden::Resolved));
        let allowed = resolve(Guard::new(&["127.0.0.0/8"]).unwrap()).await.unwrap();
        assert!(allowed.into_iter().all(|address| address.ip().is_ipv4()));
    }
}
