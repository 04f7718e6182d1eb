//! The service as an operator has it: the real binary, started from a settings
//! file, killed, told to stop and started again. The simulated provider lives in
//! the test, outlives the kills, and knows what was bought.

mod backup;
mod check;
mod cli;
mod crash;
mod drain;
mod flood;
mod full_disk;
mod inputs;
mod poison;
mod recovery;
mod secrets;
mod server;
mod start;
mod webhooks;
