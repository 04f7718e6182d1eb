//! The one policy for what we call: links that come from outside never lead to
//! our own network. `guard` judges URLs, `address` judges addresses, `resolver`
//! makes sure that the address judged is the address connected to.

mod address;
mod client;
mod guard;
mod resolver;

pub use address::{BadRange, IpRange, is_public};
pub use client::{client_builder, reason};
pub use guard::{Forbidden, Guard, MAX_URL_BYTES};
pub use resolver::{GuardedResolver, forbidden_cause};
