//! Accounts that are held: their credentials or their money are not good for another
//! create. The supervisor puts it on record here, so that it survives a restart and
//! that callers can be told.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Ledger, LedgerError};
use crate::clock::unix_ms;
use crate::task::id::AccountName;

/// Why an account is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Since when.
    pub since: SystemTime,
    /// What the provider said: one line of at most 512 bytes, redacted.
    pub reason: String,
}

/// The accounts that are held now.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<HashMap<AccountName, Hold>>);

impl Holds {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<AccountName, Hold>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ledger {
    /// Why an account is held, if it is.
    pub fn held(&self, account: &AccountName) -> Option<Hold> {
        self.holds.with(|holds| holds.get(account).cloned())
    }

    /// Puts on record that an account is held.
    pub async fn hold(&self, account: &AccountName, reason: &str) -> Result<(), LedgerError> {
        let since = self.held(account).map_or(self.clock.now(), |hold| hold.since);
        let hold = Hold { since, reason: reason.to_owned() };
        let written = hold.write();
        self.holds.with(|holds| holds.insert(account.clone(), hold));
        Ok(self.store.write_note(&note(account), written).await?)
    }

    /// Puts on record that an account is held no longer.
    pub async fn release(&self, account: &AccountName) -> Result<(), LedgerError> {
        self.holds.with(|holds| holds.remove(account));
        Ok(self.store.write_note(&note(account), Vec::new()).await?)
    }

    /// Reads back whether an account was held before a restart.
    pub async fn recall_hold(&self, account: &AccountName) -> Result<Option<Hold>, LedgerError> {
        let hold = self.store.read_note(&note(account)).await?.as_deref().and_then(Hold::read);
        if let Some(hold) = &hold {
            self.holds.with(|holds| holds.insert(account.clone(), hold.clone()));
        }
        Ok(hold)
    }
}

fn note(account: &AccountName) -> String {
    format!("held/{account}")
}

impl Hold {
    fn write(&self) -> Vec<u8> {
        format!("{} {}", unix_ms(self.since), self.reason).into_bytes()
    }

    fn read(note: &[u8]) -> Option<Self> {
        let (ms, reason) = std::str::from_utf8(note).ok()?.split_once(' ')?;
        let since = UNIX_EPOCH.checked_add(Duration::from_millis(ms.parse().ok()?))?;
        Some(Self { since, reason: reason.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_read_as_it_was_written() {
        let since = UNIX_EPOCH + Duration::from_millis(1_795_392_000_123);
        let hold = Hold { since, reason: "the key is not valid".into() };
        assert_eq!(Hold::read(&hold.write()), Some(hold));
        for note in ["", "12", "x y", "99999999999999999999999 y"] {
            assert_eq!(Hold::read(note.as_bytes()), None, "{note}");
        }
    }
}
