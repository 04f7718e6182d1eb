//! Tasks survive their rows, whatever they hold; damage never passes for a task.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::store::envelope::ROW_LIMIT;
use crate::task::fixture;
use crate::task::id::{AccountName, JobId, Marker, ModelName};
use crate::task::spec::{Image, Spec, Submission, UnknownPolicy, Warning, Webhook};
use crate::task::state::*;

type Disk = HashMap<Vec<u8>, Vec<u8>>;

fn write(disk: &mut Disk, rows: Rows) {
    for (key, value) in rows.puts {
        assert!(value.len() <= ROW_LIMIT);
        disk.insert(key, value);
    }
}

fn read(disk: &Disk, id: TaskId) -> Result<(Task, Parts), Unread> {
    read_task(id, |key| Ok(disk.get(key)))
}

#[test]
fn an_ordinary_task_is_one_row() {
    let task = fixture::task(1).labelled("team", "red").running();
    assert_eq!(new_rows(&task).unwrap().puts.len(), 1);
    assert_eq!(new_rows(&task.with_prompt_of(1500)).unwrap().puts.len(), 1);
}

#[test]
fn a_large_submission_is_written_once() {
    let task = fixture::task(1).with_image_of(60 * 1024);
    let rows = new_rows(&task).unwrap();
    assert_eq!((rows.puts.len(), rows.parts), (17, Parts { state: 0, submission: 16 }));
    assert_eq!(changed_rows(&task.next(), rows.parts.submission).unwrap().puts.len(), 1);
}

#[test]
fn a_number_of_the_options_is_stored_to_the_last_digit() {
    let mut task = fixture::task(1);
    // One of those that a quick reading of decimal digits misses by one bit.
    let number = f64::from_bits(0x2fe7_6666_6666_6666);
    Arc::make_mut(&mut task.submission).spec.provider_options.insert("cfg_scale".to_owned(), number.into());
    let mut disk = Disk::new();
    write(&mut disk, new_rows(&task).unwrap());
    assert_eq!(read(&disk, task.id).unwrap().0, task);
}

#[test]
fn every_flipped_byte_is_noticed() {
    let mut task = fixture::task(1).with_prompt_of(5000).running();
    task.history[0].reason = "x".repeat(6000);
    let mut disk = Disk::new();
    write(&mut disk, new_rows(&task).unwrap());
    let keys: Vec<_> = disk.keys().cloned().collect();
    assert_eq!(keys.len(), 4);
    for key in keys {
        for position in 0..disk[&key].len() {
            disk.get_mut(&key).unwrap()[position] ^= 0x10;
            assert!(read(&disk, task.id).is_err(), "{key:?} {position}");
            disk.get_mut(&key).unwrap()[position] ^= 0x10;
        }
    }
    assert_eq!(read(&disk, task.id).unwrap().0, task);
}

#[test]
fn rows_of_two_commits_are_told_apart() {
    let mut old = fixture::task(1);
    old.history[0].reason = "a".repeat(9000);
    let mut new = old.next();
    new.history[0].reason = "b".repeat(9000);
    let mut disk = Disk::new();
    write(&mut disk, new_rows(&old).unwrap());
    let mut rows = changed_rows(&new, 0).unwrap();
    let head = rows.puts.pop().unwrap();
    write(&mut disk, rows);
    assert!(matches!(read(&disk, old.id), Err(Unread::Torn)));
    disk.insert(head.0, head.1);
    assert_eq!(read(&disk, old.id).unwrap().0, new);
}

#[test]
fn the_request_id_is_salvaged_from_a_damaged_head() {
    let rows = new_rows(&fixture::task(1)).unwrap();
    let mut row = rows.puts[0].1.clone();
    *row.last_mut().unwrap() ^= 1;
    assert_eq!(salvage_request_id(&row).unwrap().as_str(), "request-1");
    assert_eq!(salvage_request_id(&row[..3]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_task_survives_its_rows(task in any_task(), changed in any_state()) {
        let mut disk = Disk::new();
        let rows = new_rows(&task).unwrap();
        let parts = rows.parts;
        write(&mut disk, rows);
        prop_assert_eq!(read(&disk, task.id).unwrap(), (task.clone(), parts));

        let next = Task { id: task.id, revision: task.revision.next(), submission: task.submission, ..changed };
        write(&mut disk, changed_rows(&next, parts.submission).unwrap());
        prop_assert_eq!(read(&disk, task.id).unwrap().0, next);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let id = fixture::id(1);
        let key = head_key(id);
        for row in [bytes.clone(), seal(&key, &bytes).unwrap()] {
            let disk: Disk = [(key.to_vec(), row)].into();
            prop_assert!(read(&disk, id).is_err());
        }
    }
}

fn text(bytes: usize) -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-zäß鏡 ]{0,40}", 1 => Just("é".repeat(bytes / 2))]
}

fn time() -> impl Strategy<Value = SystemTime> {
    (-1000i64..4_000_000_000_000).prop_map(|ms| match u64::try_from(ms) {
        Ok(ms) => SystemTime::UNIX_EPOCH + Duration::from_millis(ms),
        Err(_) => SystemTime::UNIX_EPOCH - Duration::from_millis(ms.unsigned_abs()),
    })
}

fn maybe<T: std::fmt::Debug + Clone>(strategy: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    proptest::option::of(strategy)
}

fn image() -> impl Strategy<Value = Image> {
    prop_oneof![
        text(2048).prop_map(Image::Uri),
        (0usize..60 * 1024).prop_map(|bytes| Image::Data(vec![0xd8; bytes].into())),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    let words = (text(8192), text(8192), maybe(text(8)), maybe(text(8)));
    let images = (maybe(image()), maybe(image()), proptest::collection::vec(image(), 0..3));
    let numbers = (maybe(any::<u32>()), maybe(any::<bool>()), maybe(any::<u32>()), maybe(any::<u32>()));
    let options = proptest::collection::btree_map("[a-z_]{1,9}", (text(500), any::<i64>()), 0..4);
    (words, images, numbers, options).prop_map(|(words, images, numbers, options)| Spec {
        model: ModelName::parse("fal/some/model").unwrap(),
        prompt: words.0,
        negative_prompt: words.1,
        start_image: images.0,
        end_image: images.1,
        reference_images: images.2,
        duration_s: numbers.0,
        aspect_ratio: words.2,
        resolution: words.3,
        generate_audio: numbers.1,
        seed: numbers.2,
        fps: numbers.3,
        provider_options: options
            .into_iter()
            .map(|(key, (text, number))| (key, serde_json::json!({ "text": text, "list": [number, null, true, 0.5] })))
            .collect(),
    })
}

fn submission() -> impl Strategy<Value = Submission> {
    let labels = prop_oneof![
        3 => proptest::collection::btree_map("[a-z]{1,8}", text(255), 0..4),
        1 => Just((0..32).map(|n| (format!("label-{n}"), "v".repeat(255))).collect::<BTreeMap<_, _>>()),
    ];
    let warnings = proptest::collection::vec((text(60), text(200)), 0..3);
    let policy = prop_oneof![
        Just(UnknownPolicy::AtMostOnce),
        (1u32..4).prop_map(|max_paid_attempts| UnknownPolicy::AtLeastOnce { max_paid_attempts }),
    ];
    (spec(), any::<[u8; 32]>(), text(128), labels, warnings, policy, 0u64..1 << 40).prop_map(
        |(spec, fingerprint, request, labels, warnings, policy, ms)| Submission {
            request_id: RequestId::new(request),
            fingerprint,
            spec,
            account: AccountName::new("main"),
            generation_timeout: Duration::from_millis(ms),
            typical: Duration::from_millis(ms / 20),
            policy,
            labels,
            warnings: warnings.into_iter().map(|(field, message)| Warning { field, message }).collect(),
            webhook: (ms % 2 == 0)
                .then(|| Webhook { url: format!("https://hooks.example/{ms}"), updates: ms % 4 == 0 }),
        },
    )
}

fn state() -> impl Strategy<Value = State> {
    proptest::sample::select(State::ALL.to_vec())
}

fn attempt() -> impl Strategy<Value = Attempt> {
    use AttemptOutcome::{Accepted, NotSent, Pending, Refused, Unknown};
    let outcome = proptest::sample::select(vec![Pending, Accepted, Refused, NotSent, Unknown]);
    (any::<u32>(), outcome, time(), maybe(time()), maybe(text(100)), text(200)).prop_map(
        |(number, outcome, started, ended, job, note)| Attempt {
            number,
            marker: Marker::of(fixture::id(1), number),
            outcome,
            sends: number / 2,
            started,
            sent: started,
            ended,
            unknown_since: ended,
            job: job.map(JobId::new),
            note,
        },
    )
}

fn progress() -> impl Strategy<Value = Progress> {
    let lines = proptest::collection::vec(text(160), 0..5);
    (maybe(0.0..100.0), maybe(any::<u32>()), lines, text(50)).prop_map(
        |(percent, queue_position, log_lines, provider_status)| Progress {
            percent,
            queue_position,
            log_lines,
            provider_status,
        },
    )
}

fn artifact() -> impl Strategy<Value = Artifact> {
    let media = proptest::sample::select(vec![Media::Mp4, Media::QuickTime, Media::WebM]);
    (any::<u64>(), any::<[u8; 32]>(), media, any::<u32>(), maybe(0u64..1 << 40)).prop_map(
        |(size, sha256, media, width, ms)| Artifact {
            size,
            sha256,
            media,
            width,
            height: width / 2,
            duration: ms.map(Duration::from_millis),
            frame_rate_milli: width / 3,
        },
    )
}

fn failure() -> impl Strategy<Value = Failure> {
    use FailureKind as K;
    let kinds = vec![
        K::ProviderRefused,
        K::Moderated,
        K::ProviderAuth,
        K::ProviderFunds,
        K::ProviderFailed,
        K::ProviderLostJob,
        K::SubmitOutcomeUnknown,
        K::ArtifactLost,
        K::ArtifactRejected,
        K::TargetForbidden,
        K::ImageRejected,
        K::Deadline,
    ];
    (proptest::sample::select(kinds), text(40), text(512), any::<bool>(), maybe(time())).prop_map(
        |(kind, provider_code, message, maybe_charged, recoverable_until)| Failure {
            kind,
            provider_code,
            message,
            maybe_charged,
            recoverable_until,
        },
    )
}

fn cancellation() -> impl Strategy<Value = Cancellation> {
    use CancelOutcome::{AskedUpstream, Confirmed, NotSupported, Requested, TooLate};
    let outcome = proptest::sample::select(vec![Requested, Confirmed, AskedUpstream, NotSupported, TooLate]);
    (outcome, time()).prop_map(|(outcome, requested)| Cancellation { outcome, requested })
}

/// A task whose state is anything; its submission is an ordinary one.
fn any_state() -> impl Strategy<Value = Task> {
    let history = proptest::collection::vec((state(), time(), text(200)), 0..=HISTORY_KEPT);
    let charges = proptest::collection::vec((text(20), text(9), text(90)), 0..3);
    let job = maybe((text(100), text(1024)));
    let output = maybe((text(2048), maybe(time())));
    let spares = proptest::collection::vec((text(100), text(300)), 0..3);
    let lists = (proptest::collection::vec(attempt(), 0..4), charges, history, spares);
    let times = (maybe(time()), time(), time(), maybe(time()), maybe(time()), time());
    (state(), job, (progress(), output, maybe(artifact())), maybe(failure()), lists, maybe(cancellation()), times)
        .prop_map(|(state, job, (progress, output, artifact), failure, lists, cancellation, times)| Task {
            state,
            job: job.map(|(id, handle)| Job { id: JobId::new(id), handle }),
            progress,
            output: output.map(|(url, expires)| Output { url, expires }),
            artifact,
            failure,
            attempts: lists.0,
            charges: lists
                .1
                .into_iter()
                .map(|(amount, unit, description)| Charge { amount, unit, description })
                .collect(),
            cancellation,
            history: lists.2.into_iter().map(|(state, time, reason)| HistoryEntry { state, time, reason }).collect(),
            spares: lists.3.into_iter().map(|(id, handle)| Job { id: JobId::new(id), handle }).collect(),
            missing_since: times.0,
            missing_answers: u32::from(times.0.is_some()),
            created: times.1,
            updated: times.2,
            started: times.3,
            ended: times.4,
            deadline: times.5,
            ..fixture::task(1)
        })
}

fn any_task() -> impl Strategy<Value = Task> {
    (any_state(), submission(), any::<u128>(), 0..u64::MAX).prop_map(|(state, submission, id, revision)| Task {
        id: TaskId::new(Uuid::from_u128(id)),
        revision: Revision(revision),
        submission: Arc::new(submission),
        ..state
    })
}
