//! Good containers, broken ones, and bytes of no meaning at all.

use proptest::prelude::*;

use super::super::sample::{boxed, boxed_large, ftyp, moov, mp4};
use super::*;

fn scan(bytes: &[u8], step: usize) -> Result<(Media, Facts), Broken> {
    let mut scanner = Scanner::new();
    for piece in bytes.chunks(step) {
        scanner.push(piece)?;
    }
    scanner.finish()
}

fn wrong(bytes: &[u8]) -> bool {
    matches!(scan(bytes, 1000), Err(Broken::Wrong(_)))
}

const FACTS: Facts = Facts { width: 640, height: 360, duration: Some(Duration::from_millis(5500)) };

#[test]
fn a_whole_file_tells_what_it_is_in_pieces_of_any_size() {
    let file = mp4(5000);
    for step in [1, 2, 7, 8, 13, 100, file.len()] {
        assert_eq!(scan(&file, step), Ok((Media::Mp4, FACTS)), "{step}");
    }
}

#[test]
fn every_usual_order_of_boxes_is_good() {
    let data = boxed(b"mdat", &[7; 50]);
    let last = [&[0, 0, 0, 0][..], b"mdat", &[7; 50]].concat();
    let good = [
        [ftyp(b"isom"), data.clone(), moov()].concat(),
        [boxed(b"free", &[0; 20]), ftyp(b"isom"), moov(), data.clone()].concat(),
        [ftyp(b"mp42"), boxed(b"uuid", &[0; 16]), moov(), boxed_large(b"mdat", &[7; 50])].concat(),
        [ftyp(b"isom"), moov(), boxed(b"mdat", &[]), data.clone(), boxed(b"free", &[])].concat(),
        [ftyp(b"isom"), moov(), last].concat(),
    ];
    for (number, file) in good.iter().enumerate() {
        for step in [1, 1000] {
            assert_eq!(scan(file, step), Ok((Media::Mp4, FACTS)), "{number}");
        }
    }
    let quicktime = [ftyp(b"qt  "), boxed(b"wide", &[]), data, moov()].concat();
    assert_eq!(scan(&quicktime, 9), Ok((Media::QuickTime, FACTS)));
    let webm = [&EBML_MAGIC[..], b"anything"].concat();
    assert_eq!(scan(&webm, 1), Ok((Media::WebM, Facts::default())));
}

#[test]
fn a_file_cut_anywhere_is_unfinished() {
    let file = mp4(300);
    for end in 0..file.len() {
        assert_eq!(scan(&file[..end], 64), Err(Broken::Unfinished), "{end}");
    }
    let other_order = [ftyp(b"isom"), boxed(b"mdat", &[7; 50]), moov()].concat();
    for end in 0..other_order.len() {
        assert_eq!(scan(&other_order[..end], 64), Err(Broken::Unfinished), "{end}");
    }
}

#[test]
fn what_is_no_video_is_wrong_at_once() {
    let data = boxed(b"mdat", &[7; 50]);
    assert!(wrong(b"<!DOCTYPE html><html>expired</html>"));
    assert!(wrong(br#"{"error": "not found"}"#));
    assert!(wrong(b"\x89PNG\r\n\x1a\n........"));
    assert!(wrong(&[0; 64]));
    assert!(wrong(&[moov(), data.clone()].concat()));
    assert!(wrong(&boxed(b"free", &[0; 5000])));
    assert!(wrong(&[ftyp(b"isom"), ftyp(b"isom"), moov(), data.clone()].concat()));
    assert!(wrong(&[ftyp(b"isom"), moov(), moov(), data.clone()].concat()));
    assert!(wrong(&[ftyp(b"isom"), boxed(b"moov", &[]), data.clone()].concat()));
    assert!(wrong(&[ftyp(b"isom"), vec![0, 0, 0, 4], b"mdat".to_vec()].concat()));
    let size_zero_in_full = [&1_u32.to_be_bytes()[..], b"mdat", &[0; 8]].concat();
    assert!(wrong(&[ftyp(b"isom"), moov(), size_zero_in_full].concat()));
    let huge = [&u32::MAX.to_be_bytes()[..], b"moov"].concat();
    assert!(wrong(&[ftyp(b"isom"), huge].concat()));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), step in 1_usize..50) {
        let _ = scan(&bytes, step);
        let _ = moov::parse(&bytes);
    }

    #[test]
    fn no_altered_file_makes_it_panic(place in 0_usize..600, byte in any::<u8>(), step in 1_usize..50) {
        let mut file = mp4(50);
        let place = place % file.len();
        file[place] = byte;
        let altered = scan(&file, step);
        let other = scan(&file, 1000);
        prop_assert_eq!(altered, other);
        let _ = moov::parse(&file);
    }
}
