//! Attacks the real service until a promise breaks or the count is reached: each
//! row is one way to attack, made of many cases, each case of one seed. Run it by
//! `scripts/torture`; a plain `cargo test` runs no row.

mod check;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod figures;
mod load;
mod proxy;
mod rows;
mod run;
mod seen;
mod settle;
mod site;
mod strace;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use videogen::config::parse_duration;

use run::{Bounds, Row};

/// Attack the service.
#[derive(Debug, Parser)]
#[command(name = "scripts/torture", disable_version_flag = true)]
struct Arguments {
    /// Which row; `--list` names them.
    row: Option<String>,
    /// Name every row, and run none.
    #[arg(long, exclusive = true)]
    list: bool,
    /// A bounded sample of every row, or of the one that is named.
    #[arg(long)]
    sample: bool,
    /// How many cases. Default: all that the row's figure asks for.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Begin no case after this long, such as 10m.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    time: Option<Duration>,
    /// The first case's seed; each further case has the next one.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// How many cases at once. Default: the row's own.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    // Set by scripts/torture: what `cargo test` hands to every binary is not for us.
    if std::env::var_os("TORTURE").is_none() {
        println!("torture: no row runs here; see scripts/torture --list");
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse();
    if arguments.list {
        for row in rows::ALL {
            println!("{:12} {} (sample: {}, full: {})", row.name, row.about, row.sample, row.full);
        }
        return ExitCode::SUCCESS;
    }
    match chosen(&arguments) {
        Ok(rows) => attack(&rows, &arguments),
        Err(complaint) => {
            eprintln!("{complaint}");
            ExitCode::from(2)
        }
    }
}

fn chosen(arguments: &Arguments) -> Result<Vec<&'static Row>, String> {
    match &arguments.row {
        None if arguments.sample => Ok(rows::ALL.iter().collect()),
        None => Err("which row? scripts/torture --list names them".to_owned()),
        Some(name) => match rows::ALL.iter().find(|row| row.name == name) {
            Some(row) => Ok(vec![row]),
            None => Err(format!("there is no row {name}; scripts/torture --list names them")),
        },
    }
}

fn attack(rows: &[&'static Row], arguments: &Arguments) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut whole = true;
    for row in rows {
        let all = if arguments.sample { row.sample } else { row.full };
        let bounds = Bounds {
            seed: arguments.seed,
            count: arguments.count.unwrap_or(all),
            time: arguments.time,
            jobs: arguments.jobs.unwrap_or(row.jobs).max(1),
        };
        whole &= runtime.block_on(run::run(row, &bounds));
    }
    if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
