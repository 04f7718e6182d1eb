//! What no generated client sends: broken protobuf, messages above the limit, ids
//! and tokens that were never given out.

use bytes::{Buf, BufMut, Bytes};
use pb::{
    CancelTaskRequest, DownloadVideoRequest, GetDownloadLinkRequest, GetTaskRequest, ListTasksRequest, TaskFilter,
    WatchRequest,
};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};
use videogen::api::pb;

use crate::house::{House, by_filter, request, text, told};

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

async fn send(house: &House, method: &'static str, message: Vec<u8>) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(house.channel().await);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(method);
    client.unary(Request::new(Bytes::from(message)), path, Raw).await.map(tonic::Response::into_inner)
}

const SUBMIT: &str = "/videogen.v1.VideoGen/Submit";

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encode_length_delimiter(content.len(), &mut bytes).unwrap();
    bytes.extend_from_slice(content);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_decoded_is_refused() {
    let mut house = House::new().await;
    // A Struct in a Value in a Struct ..., deeper than any decoder follows.
    let deep = (0..120).fold(Vec::new(), |inner, _| field(1, &[field(1, b"k"), field(2, &field(5, &inner))].concat()));
    for (name, message) in [
        ("no UTF-8", field(1, b"\xff\xfe")),
        ("no UTF-8 in the prompt", field(2, &field(2, b"a \xc3 b"))),
        ("cut", vec![0x0a, 0x10, b'a']),
        ("no wire type", vec![0x0f]),
        ("field 0", vec![0x02, 0x01, 0x00]),
        ("deep", field(2, &field(13, &deep))),
    ] {
        let refused = send(&house, SUBMIT, message).await.expect_err(name);
        assert_eq!(refused.code(), Code::Internal, "{name}: {refused:?}");
    }
    assert!(house.is_untouched().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_of_a_later_version_are_passed_over() {
    let house = House::new().await;
    let known = prost::Message::encode_to_vec(&request(text("kling/kling-3.0")));
    let later = [known, field(15, b"from the future")].concat();
    send(&house, SUBMIT, later).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_limit_of_its_method_is_too_large() {
    let mut house = House::new().await;
    for (method, bytes) in [(SUBMIT, 24 << 20), ("/videogen.v1.VideoGen/GetTask", 64 << 10)] {
        let refused = send(&house, method, field(1, &vec![b'a'; bytes])).await.unwrap_err();
        assert_eq!(told(&refused), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into(), vec![]), "{method}");
    }
    // A prompt of so much has no business in a request that may be large for its pictures.
    let refused = send(&house, SUBMIT, field(1, &vec![b'a'; 65 * 1024])).await.unwrap_err();
    assert_eq!(told(&refused).0, Code::InvalidArgument);
    assert!(house.is_untouched().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_method_is_unimplemented() {
    let house = House::new().await;
    let refused = send(&house, "/videogen.v1.VideoGen/Delete", Vec::new()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_cannot_be_one_is_an_id_that_no_task_has() {
    let mut house = House::new().await;
    let long = "x".repeat(300);
    let nobody = "01900000-0000-7000-8000-000000000000";
    let ids = ["../../etc/passwd", "a/b", "nul\0", "..", "%2e%2e", "no such id", &long, nobody];
    for task_id in ids.map(str::to_owned) {
        let client = &mut house.client;
        let watch = WatchRequest { task_id: task_id.clone(), ..Default::default() };
        let answers = [
            client.get_task(GetTaskRequest { task_id: task_id.clone() }).await.map(drop),
            client.cancel_task(CancelTaskRequest { task_id: task_id.clone() }).await.map(drop),
            client.download_video(DownloadVideoRequest { task_id: task_id.clone(), offset: 0 }).await.map(drop),
            client
                .get_download_link(GetDownloadLinkRequest { task_id: task_id.clone(), lifetime: None })
                .await
                .map(drop),
            client.watch(watch).await.map(drop),
        ];
        for answer in answers {
            let refused = answer.expect_err(&task_id);
            assert_eq!(told(&refused), (Code::NotFound, "TASK_NOT_FOUND".into(), vec![]), "{task_id:?}");
        }
    }
    let empty = house.client.get_task(GetTaskRequest::default()).await.unwrap_err();
    assert_eq!(told(&empty), (Code::InvalidArgument, "FIELD_INVALID".into(), vec!["task_id".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_filter_names_its_field_for_list_and_watch() {
    let mut house = House::new().await;
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let labels = |key: &str, value: String| [(key.to_owned(), value)].into();
    for (field, filter) in [
        ("filter.states", TaskFilter { states: vec![99], ..Default::default() }),
        ("filter.states", TaskFilter { states: vec![0], ..Default::default() }),
        ("filter.states", TaskFilter { states: vec![1; 9], ..Default::default() }),
        ("filter.labels", TaskFilter { labels: labels("Team", "a".into()), ..Default::default() }),
        ("filter.labels.team", TaskFilter { labels: labels("team", "v".repeat(256)), ..Default::default() }),
        (
            "filter.labels",
            TaskFilter { labels: (0..9).map(|n| (n.to_string(), String::new())).collect(), ..Default::default() },
        ),
        ("filter.model", TaskFilter { model: "m".repeat(201), ..Default::default() }),
        ("filter.create_time_min", TaskFilter { create_time_min: time(-1), ..Default::default() }),
        ("filter.create_time_max", TaskFilter { create_time_max: time(i64::MIN), ..Default::default() }),
    ] {
        let wanted = (Code::InvalidArgument, "FIELD_INVALID".to_owned(), vec![field.to_owned()]);
        let asked = ListTasksRequest { filter: Some(filter.clone()), ..Default::default() };
        assert_eq!(told(&house.list(asked).await.expect_err(field)), wanted);
        assert_eq!(told(&house.client.watch(by_filter(filter)).await.expect_err(field)), wanted);
    }
    let filter = TaskFilter { model: "nobody/knows".into(), ..Default::default() };
    let refused = house.client.watch(by_filter(filter)).await.unwrap_err();
    assert_eq!(told(&refused).1, "MODEL_UNKNOWN");
}
