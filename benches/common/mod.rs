//! What the load programs share: the same program again in another role and
//! process, the CPU time and memory of a process, and medians.

#![allow(dead_code, reason = "each program uses a part of it")]

pub mod bare;
pub mod house;
pub mod light;
pub mod tasks;

use std::error::Error;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, Command, Stdio};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How often each side is measured; what is printed is the median.
pub const ROUNDS: usize = 3;

/// What this process is to do: the arguments without those of cargo.
pub fn role() -> Vec<String> {
    std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect()
}

/// Another process that ends with its handle.
pub struct Process {
    child: Child,
    lines: Lines<Box<dyn BufRead + Send>>,
}

impl Process {
    /// This program again, in another role. It talks through its standard output.
    pub fn in_role(role: &[String]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?).args(role).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no standard output")?;
        Ok(Self { child, lines: (Box::new(BufReader::new(output)) as Box<dyn BufRead + Send>).lines() })
    }

    /// The product itself. It announces its doors on standard error.
    pub fn of_the_product(command: &mut Command) -> Result<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let output = child.stderr.take().ok_or("no standard error")?;
        Ok(Self { child, lines: (Box::new(BufReader::new(output)) as Box<dyn BufRead + Send>).lines() })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints. Blocks.
    pub fn line(&mut self) -> Result<String> {
        Ok(self.lines.next().ok_or("the other process has ended")??)
    }

    /// The numbers in the next line that it prints. Blocks.
    pub fn numbers(&mut self) -> Result<Vec<f64>> {
        self.line()?.split_whitespace().map(|number| Ok(number.parse()?)).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time that a process has used, in seconds. Counted in 10 ms.
pub fn cpu_s(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold anything; the fields are counted after it.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?;
    let ticks: Vec<f64> =
        fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<std::result::Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// What a process holds in memory, in bytes.
pub fn resident(process: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/PID/status")?;
    let kib = line.trim().trim_end_matches(" kB").trim();
    Ok(kib.parse::<f64>()? * 1024.0)
}

/// The value below which that part of the values lies.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * part) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// The median of each column.
pub fn medians(rows: &[Vec<f64>]) -> Vec<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns).map(|column| quantile(&mut rows.iter().map(|row| row[column]).collect::<Vec<_>>(), 0.5)).collect()
}
