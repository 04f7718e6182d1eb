//! What a row counts. The figures of its cases are put together into the one line
//! that a run prints.

use std::fmt;

/// Numbers with a name, in the order in which they were first named.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<(&'static str, u64, Sort)>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sort {
    Sum,
    Largest,
}

impl Figures {
    /// Counts so many more.
    pub fn add(&mut self, name: &'static str, number: u64) {
        *self.slot(name, Sort::Sum) += number;
    }

    /// Keeps the largest.
    pub fn largest(&mut self, name: &'static str, number: u64) {
        let known = self.slot(name, Sort::Largest);
        *known = number.max(*known);
    }

    /// The number of that name; 0 when nothing was counted.
    pub fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, ..)| *known == name).map_or(0, |(_, number, _)| *number)
    }

    /// Takes another's figures in.
    pub fn merge(&mut self, other: &Self) {
        for (name, number, sort) in &other.0 {
            match sort {
                Sort::Sum => self.add(name, *number),
                Sort::Largest => self.largest(name, *number),
            }
        }
    }

    fn slot(&mut self, name: &'static str, sort: Sort) -> &mut u64 {
        let place = self.0.iter().position(|(known, ..)| *known == name).unwrap_or(self.0.len());
        if place == self.0.len() {
            self.0.push((name, 0, sort));
        }
        &mut self.0[place].1
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(|(name, number, _)| format!("{number} {name}")).collect();
        f.write_str(&words.join(", "))
    }
}
