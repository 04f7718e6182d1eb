//! Rows: bytes that are not what was written are never taken for it, and what was
//! read is written again as it was read.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use prost::Message;

use super::contract::StoreError;
use super::envelope::{Kind, PAYLOAD_LIMIT, peek, seal, unseal};
use super::record::{read_state, read_submission, wire, write_state, write_submission};
use super::rows::{
    Rows, Unread, changed_rows, head_key, id_of_head, new_rows, part_key, read_task, salvage_request_id,
};
use crate::fuzzing::seed;
use crate::task::id::{AccountName, ModelName, RequestId, Revision, TaskId};
use crate::task::machine;
use crate::task::spec::{Spec, Submission, UnknownPolicy};
use crate::task::state::Task;

const ID: TaskId = TaskId::floor(1_795_392_000_000);

/// A task that needs rows of its own for its submission.
static SAMPLE: LazyLock<Task> = LazyLock::new(|| {
    let model = ModelName::parse("kling/kling-v2-1").expect("it has both parts");
    let submission = Submission {
        request_id: RequestId::new("request-1"),
        fingerprint: [7; 32],
        spec: Spec { prompt: "a lighthouse in the rain ".repeat(250), ..Spec::new(model) },
        account: AccountName::new("main"),
        generation_timeout: Duration::from_secs(3600),
        typical: Duration::from_secs(180),
        policy: UnknownPolicy::AtLeastOnce { max_paid_attempts: 2 },
        labels: BTreeMap::from([("team".to_owned(), "red".to_owned())]),
        warnings: Vec::new(),
        webhook: None,
    };
    machine::accept(ID, Arc::new(submission), SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_392_000))
});

static SAMPLE_ROWS: LazyLock<BTreeMap<Vec<u8>, Vec<u8>>> =
    LazyLock::new(|| new_rows(&SAMPLE).map(stored).expect("it fits"));

/// The sample task, for what else keeps tasks.
pub(super) fn sample() -> &'static Task {
    &SAMPLE
}

fn stored(rows: Rows) -> BTreeMap<Vec<u8>, Vec<u8>> {
    rows.puts.into_iter().collect()
}

fn read(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Task, Unread> {
    read_task(ID, |key| Ok::<_, StoreError>(rows.get(key))).map(|(task, _)| task)
}

pub(crate) use super::receipts::fuzzing as receipts;

pub(crate) fn check(data: &[u8]) {
    let Some((case, bytes)) = data.split_first() else { return };
    match case % 5 {
        0 => envelope(bytes),
        1 => state(bytes),
        2 => submission(bytes),
        3 => head(bytes),
        _ => damage(bytes),
    }
}

fn envelope(bytes: &[u8]) {
    let (key, row) = bytes.split_at(bytes.len().min(17));
    if let Ok(payload) = unseal(key, row) {
        assert_eq!(payload, peek(row));
    }
    if let Some(id) = id_of_head(key) {
        assert_eq!(head_key(id).as_slice(), key);
    }
    let _ = salvage_request_id(row);
    let sealed = seal(key, row);
    assert_eq!(sealed.is_ok(), row.len() <= PAYLOAD_LIMIT);
    let (Ok(sealed), Some(last)) = (sealed, key.last()) else { return };
    assert_eq!(unseal(key, &sealed), Ok(row));
    let other = [&key[..key.len() - 1], &[last ^ 1]].concat();
    assert!(unseal(&other, &sealed).is_err());
}

/// A state that can be read is written the same ever after.
fn state(bytes: &[u8]) {
    let read = |bytes: &[u8]| read_state(bytes, ID, Revision(3), Arc::clone(&SAMPLE.submission));
    let Ok(task) = read(bytes) else { return };
    let written = write_state(&task);
    let again = read(&written).expect("what was written can be read");
    assert_eq!(write_state(&again), written);
    survives(&task);
}

fn submission(bytes: &[u8]) {
    let Ok(submission) = read_submission(bytes) else { return };
    let written = write_submission(&submission);
    let again = read_submission(&written).expect("what was written can be read");
    assert_eq!(write_submission(&again), written);
    assert_eq!(again, submission);
    survives(&Task { submission: Arc::new(submission), ..SAMPLE.clone() });
}

/// Split into rows and put together, a task is the same; or it is too large.
fn survives(task: &Task) {
    let Ok(rows) = new_rows(task) else { return };
    let parts = rows.parts;
    let rows = stored(rows);
    let back = read(&rows).expect("what was stored can be read");
    assert_eq!((write_state(&back), &back.submission), (write_state(task), &task.submission));
    let changed = changed_rows(&back, parts.submission).map(stored).expect("it fits as it did");
    assert!(changed.iter().all(|(key, row)| rows.get(key) == Some(row)));
}

/// A head that was never written by us, in an envelope that is right, and with rows
/// behind it that go on for ever.
fn head(bytes: &[u8]) {
    let Ok(mut head) = wire::Head::decode(bytes) else { return };
    if head.state_parts == 0 {
        head.state_crc = crc32c::crc32c(&head.state);
    }
    let key = head_key(ID);
    let Ok(row) = seal(&key, &head.encode_to_vec()) else { return };
    let part = |key: &[u8]| seal(key, &bytes[..bytes.len().min(64)]).ok();
    let last = part_key(Kind::SubmissionPart, ID, 9);
    let get = |asked: &[u8]| match asked == key {
        true => Ok(Some(row.clone())),
        false => Ok(part(asked).filter(|_| asked <= last.as_slice())),
    };
    if let Ok((task, parts)) = read_task(ID, get) {
        assert_eq!((task.revision.0, u32::from(parts.state)), (head.revision, head.state_parts));
    }
    assert_eq!(salvage_request_id(&row).is_some(), salvageable(&head));
}

fn salvageable(head: &wire::Head) -> bool {
    wire::Submission::decode(head.submission.clone()).is_ok_and(|submission| !submission.request_id.is_empty())
}

/// One byte or two neighbours altered anywhere in a stored task are always noticed.
fn damage(bytes: &[u8]) {
    let [row, high, low, mask_1, mask_2, ..] = *bytes else { return };
    let mut rows = SAMPLE_ROWS.clone();
    let count = rows.len();
    let Some(row) = rows.values_mut().nth(usize::from(row) % count) else { return };
    let place = usize::from(u16::from_be_bytes([high, low])) % (row.len() - 1);
    row[place] ^= mask_1;
    row[place + 1] ^= mask_2;
    match read(&rows) {
        Ok(task) => assert!((mask_1, mask_2) == (0, 0) && task == *SAMPLE, "damage went unnoticed"),
        Err(unread) => assert!(matches!(unread, Unread::Damaged(_)), "{unread:?}"),
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let row = |(key, row): (&Vec<u8>, &Vec<u8>)| seed(0, [key.as_slice(), row.get(..200).unwrap_or(row)].concat());
    let small = Spec { prompt: "rain".to_owned(), ..SAMPLE.submission.spec.clone() };
    let small = Submission { spec: small, ..(*SAMPLE.submission).clone() };
    let small = Task { submission: Arc::new(small), ..SAMPLE.clone() };
    let (state, submission) = (write_state(&small), write_submission(&small.submission));
    let head = wire::Head {
        revision: 1,
        state: state.clone().into(),
        submission: submission.clone().into(),
        ..wire::Head::default()
    };
    let mut seeds: Vec<_> = SAMPLE_ROWS.iter().map(row).collect();
    seeds.extend([
        seed(1, full_state()),
        seed(1, state),
        seed(2, full_submission()),
        seed(2, submission),
        seed(3, head.encode_to_vec()),
        seed(4, [0, 0, 1, 2, 3]),
        seed(4, [1, 15, 255, 0, 128]),
    ]);
    seeds
}

/// A state with much in it.
fn full_state() -> Vec<u8> {
    wire::State {
        state: 6,
        job: Some(wire::Job { id: "j-1".to_owned(), handle: "new".to_owned() }),
        progress: Some(wire::Progress {
            percent: Some(12.5),
            queue_position: Some(2),
            log_lines: vec!["step 3".to_owned()],
            provider_status: "processing".to_owned(),
        }),
        output: Some(wire::Output { url: "https://cdn.example/v.mp4".to_owned(), expires_ms: Some(1) }),
        artifact: Some(wire::Artifact {
            size: 1,
            sha256: vec![1; 32].into(),
            media: 1,
            width: 1,
            height: 1,
            duration_ms: Some(5_000),
            frame_rate_milli: 24_000,
        }),
        failure: Some(wire::Failure {
            kind: 1,
            provider_code: "1201".to_owned(),
            message: "no".to_owned(),
            maybe_charged: true,
            recoverable_until_ms: Some(-1),
        }),
        attempts: vec![wire::Attempt {
            number: 1,
            marker: "vg-1-1".to_owned(),
            outcome: 2,
            sends: 1,
            started_ms: 1,
            sent_ms: 2,
            ended_ms: Some(3),
            unknown_since_ms: Some(4),
            job: Some("j-1".to_owned()),
            note: "n".to_owned(),
        }],
        charges: vec![wire::Charge { amount: "4".to_owned(), unit: "u".to_owned(), description: "d".to_owned() }],
        cancellation: Some(wire::Cancellation { outcome: 1, requested_ms: 5 }),
        history: vec![wire::HistoryEntry { state: 1, time_ms: 1, reason: "accepted".to_owned() }],
        missing_since_ms: Some(6),
        created_ms: 1,
        updated_ms: 2,
        started_ms: Some(3),
        ended_ms: Some(4),
        deadline_ms: 5,
        ..wire::State::default()
    }
    .encode_to_vec()
}

/// Every field of a submission, set.
fn full_submission() -> Vec<u8> {
    let uri = wire::Image { source: Some(wire::image::Source::Uri("https://img.example/a.png".to_owned())) };
    let data = wire::Image { source: Some(wire::image::Source::Data(vec![0xff, 0xd8, 0xff].into())) };
    let spec = wire::Spec {
        model: "kling/kling-v2-1".to_owned(),
        prompt: "rain".to_owned(),
        negative_prompt: "sun".to_owned(),
        start_image: Some(uri.clone()),
        end_image: Some(data),
        reference_images: vec![uri],
        duration_s: Some(5),
        aspect_ratio: Some("16:9".to_owned()),
        resolution: Some("1080p".to_owned()),
        generate_audio: Some(true),
        seed: Some(7),
        fps: Some(24),
        provider_options_json: r#"{"cfg_scale":0.7,"camera_control":{"type":"simple"},"n":[1,2.5e-3,null]}"#.to_owned(),
    };
    wire::Submission {
        request_id: "request-1".to_owned(),
        fingerprint: vec![7; 32].into(),
        account: "main".to_owned(),
        spec: Some(spec),
        generation_timeout_ms: 1,
        typical_ms: 2,
        policy: 2,
        max_paid_attempts: 2,
        labels: [("team".to_owned(), "red".to_owned())].into(),
        warnings: vec![wire::Warning { field: "spec.seed".to_owned(), message: "ignored".to_owned() }],
        webhook: Some(wire::Webhook { url: "https://hooks.example/1".to_owned(), updates: true }),
    }
    .encode_to_vec()
}
