//! Good containers, broken ones, and bytes of no meaning at all.

use proptest::prelude::*;

use super::super::sample::{boxed, boxed_large, element, ftyp, moov, mp4, webm};
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

const LENGTH: Option<Duration> = Some(Duration::from_millis(5500));
const FACTS: Facts = Facts { width: 640, height: 360, duration: LENGTH, frame_rate_milli: 24_000 };
const WEBM: Facts = Facts { frame_rate_milli: 25_000, ..FACTS };

#[test]
fn a_whole_file_tells_what_it_is_in_pieces_of_any_size() {
    let file = mp4(5000);
    let other = webm(5000);
    for step in [1, 2, 7, 8, 13, 100, file.len()] {
        assert_eq!(scan(&file, step), Ok((Media::Mp4, FACTS)), "{step}");
        assert_eq!(scan(&other, step), Ok((Media::WebM, WEBM)), "{step}");
    }
}

/// The WebM file as a recorder writes it, which knows no sizes of what goes on: its
/// segment and its only cluster.
fn endless(mut file: Vec<u8>) -> Vec<u8> {
    for id in [0x1853_8067_u32, 0x1f43_b675] {
        let at = file.windows(4).position(|bytes| bytes == id.to_be_bytes()).unwrap() + 4;
        file[at..at + 8].copy_from_slice(&[1, 255, 255, 255, 255, 255, 255, 255]);
    }
    file
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
    let live = endless(webm(50));
    assert_eq!(scan(&[live, vec![9; 50]].concat(), 9), Ok((Media::WebM, WEBM)));
}

#[test]
fn a_file_cut_anywhere_is_unfinished() {
    let file = mp4(300);
    for end in 0..file.len() {
        assert_eq!(scan(&file[..end], 64), Err(Broken::Unfinished), "{end}");
    }
    let other = webm(300);
    for end in 0..other.len() {
        assert_eq!(scan(&other[..end], 64), Err(Broken::Unfinished), "{end}");
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
    let head = element(0x1a45_dfa3, &element(0x4282, b"webm"));
    let tracks = element(0x1654_ae6b, &element(0xae, &element(0x83, &[2])));
    let cluster = element(0x1f43_b675, &[7; 9]);
    let segments = [
        element(0x1853_8067, &[tracks.clone(), cluster.clone()].concat()),
        element(0x1853_8067, &cluster),
        element(0x1853_8067, &[element(0x1654_ae6b, &[0xae, 0x90, 0x83]), cluster.clone()].concat()),
        element(0x1549_a966, &[]),
        vec![0; 20],
        [&0x1853_8067_u32.to_be_bytes()[..], &[0x84], &cluster].concat(),
    ];
    for (number, segment) in segments.iter().enumerate() {
        assert!(wrong(&[&head[..], segment].concat()), "{number}");
    }
    let huge = [&0x1654_ae6b_u32.to_be_bytes()[..], &[0x08, 0xff, 0xff, 0xff, 0xff]].concat();
    assert!(wrong(&[&head[..], &element(0x1853_8067, &[&huge[..], &[0; 50]].concat())].concat()));
    let size_zero_in_full = [&1_u32.to_be_bytes()[..], b"mdat", &[0; 8]].concat();
    assert!(wrong(&[ftyp(b"isom"), moov(), size_zero_in_full].concat()));
    let huge = [&u32::MAX.to_be_bytes()[..], b"moov"].concat();
    assert!(wrong(&[ftyp(b"isom"), huge].concat()));
}

/// Runs a tool of ffmpeg's and hands back what it printed; nothing where it is absent.
fn tool(name: &str, arguments: &[&str]) -> Option<String> {
    let ran = std::process::Command::new(name).args(arguments).output().ok()?;
    assert!(ran.status.success(), "{name}: {}", String::from_utf8_lossy(&ran.stderr));
    Some(String::from_utf8(ran.stdout).unwrap())
}

#[test]
fn others_read_the_same_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &str, &[&str]); 5] = [
        ("ntsc.mp4", "size=320x180:rate=30000/1001", &["-c:v", "mpeg4"]),
        ("fast.mp4", "size=180x320:rate=60", &["-c:v", "mpeg4", "-movflags", "+faststart"]),
        ("pal.mov", "size=64x64:rate=25", &["-c:v", "mpeg4"]),
        ("film.webm", "size=320x180:rate=24000/1001", &["-c:v", "libvpx"]),
        ("live.webm", "size=320x180:rate=24", &["-c:v", "libvpx", "-live", "1"]),
    ];
    for (name, picture, options) in cases {
        let path = folder.path().join(name).display().to_string();
        let source = ["-v", "error", "-f", "lavfi", "-i", &format!("testsrc=duration=2:{picture}")];
        let Some(_) = tool("ffmpeg", &[&source, options, &[path.as_str()]].concat()) else {
            println!("SKIPPED: there is no ffmpeg");
            return;
        };
        let wanted = "stream=width,height,avg_frame_rate:format=duration";
        let asked =
            ["-v", "error", "-select_streams", "v:0", "-show_entries", wanted, "-of", "default=nk=1:nw=1", &path];
        let told = tool("ffprobe", &asked).unwrap();
        let [width, height, rate, length] = told.lines().collect::<Vec<_>>()[..] else { panic!("{told}") };
        let (frames, seconds) = rate.split_once('/').unwrap();
        let rate = frames.parse::<f64>().unwrap() / seconds.parse::<f64>().unwrap();
        let (_, facts) = scan(&std::fs::read(&path).unwrap(), 4096).unwrap();
        assert_eq!((facts.width.to_string(), facts.height.to_string()), (width.into(), height.into()), "{name}");
        let live = name.starts_with("live");
        if !live || facts.frame_rate_milli > 0 {
            assert!((f64::from(facts.frame_rate_milli) / 1000.0 - rate).abs() < 0.001, "{name}: {facts:?}, {told}");
        }
        // A live recording does not know how long it will be.
        assert_eq!(facts.duration.is_none(), live, "{name}");
        if let (Some(found), Ok(length)) = (facts.duration, length.parse::<f64>()) {
            assert!((found.as_secs_f64() - length).abs() < 0.002, "{name}: {facts:?}, {told}");
        }
    }
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

    #[test]
    fn no_altered_webm_makes_it_panic(place in 0_usize..600, byte in any::<u8>(), step in 1_usize..50) {
        let mut file = webm(50);
        let place = place % file.len();
        file[place] = byte;
        prop_assert_eq!(scan(&file, step), scan(&file, 1000));
    }
}
