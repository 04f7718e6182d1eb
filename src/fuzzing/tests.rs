//! The seeds and a few thousand mutations of them, the same ones in every run.

use super::*;

const MUTATIONS: usize = 2_000;

/// Marsaglia's xorshift: the same numbers for the same start.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % below.max(1)
    }

    /// One to four changes of the kinds that a fuzzer makes.
    fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.roll(seeds.len())].clone();
        for _ in 0..=self.roll(4) {
            let place = self.roll(bytes.len() + 1);
            let end = (place + self.roll(16)).min(bytes.len());
            match self.roll(6) {
                0 => bytes.insert(place, self.byte()),
                1 => drop(bytes.drain(place..end)),
                2 => bytes.truncate(place),
                3 => drop(bytes.splice(place..end, bytes[place..end].repeat(1 + self.roll(200)))),
                4 => {
                    let other = &seeds[self.roll(seeds.len())];
                    bytes.splice(place.., other[self.roll(other.len())..].iter().copied());
                }
                _ => bytes[place..end].iter_mut().take(2).for_each(|byte| *byte ^= 1 << self.roll(8)),
            }
        }
        bytes
    }

    fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"\0\x01\x7f\xff\"\\{}[]:,.%/@?#=-+0 \n";
        match self.roll(2) {
            0 => TELLING[self.roll(TELLING.len())],
            _ => self.roll(256) as u8,
        }
    }
}

#[test]
fn every_target_holds_for_its_seeds_and_their_mutations() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        seeds.iter().for_each(|seed| (target.check)(seed));
        let mut dice = Dice(0x5eed);
        for _ in 0..MUTATIONS {
            let input = dice.mutate(&seeds);
            let shown = input.clone();
            if std::panic::catch_unwind(|| (target.check)(&input)).is_err() {
                panic!("{} does not hold for \"{}\"", target.name, shown.escape_ascii());
            }
        }
    }
}
