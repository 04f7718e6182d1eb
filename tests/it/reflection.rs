//! What tools and meshes ask: reflection in both versions, and health.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream;
use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use crate::house::{House, told, within};

const SERVICES: [&str; 2] = ["grpc.health.v1.Health", "videogen.v1.VideoGen"];

/// Asks one question of one version of reflection.
macro_rules! ask {
    ($version:ident, $house:expr, $question:ident($subject:expr)) => {{
        use $version::server_reflection_request::MessageRequest;
        let channel = $house.channel().await;
        let mut client = $version::server_reflection_client::ServerReflectionClient::new(channel);
        let question = Some(MessageRequest::$question(String::from($subject)));
        let asked = $version::ServerReflectionRequest { host: String::new(), message_request: question };
        let answers = client.server_reflection_info(stream::iter([asked])).await.unwrap();
        within(answers.into_inner().message()).await.unwrap().unwrap().message_response.unwrap()
    }};
}

macro_rules! describes_itself {
    ($version:ident, $house:expr) => {{
        use $version::server_reflection_response::MessageResponse;
        let MessageResponse::ListServicesResponse(listed) = ask!($version, $house, ListServices("")) else { panic!() };
        let names: BTreeSet<_> = listed.service.into_iter().map(|service| service.name).collect();
        assert!(SERVICES.iter().all(|name| names.contains(*name)), "{names:?}");

        for symbol in SERVICES.into_iter().chain(["videogen.v1.Task", "videogen.v1.VideoGen.Submit"]) {
            let answer = ask!($version, $house, FileContainingSymbol(symbol));
            let MessageResponse::FileDescriptorResponse(found) = answer else { panic!("{symbol}: {answer:?}") };
            let files = found.file_descriptor_proto.iter();
            let files: Vec<_> = files.map(|file| FileDescriptorProto::decode(file.as_slice()).unwrap()).collect();
            assert!(files.iter().any(|file| symbol.starts_with(file.package())), "{symbol}");
        }
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_reflection_describe_every_service() {
    let house = House::new().await;
    describes_itself!(v1, house);
    describes_itself!(v1alpha, house);
}

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_knows_the_server_and_its_service() {
    let house = House::new().await;
    let mut client = HealthClient::new(house.channel().await);
    for service in ["", "videogen.v1.VideoGen"] {
        let answer = client.check(named(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    let unknown = client.check(named("nobody.v1.Knows")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

async fn next(
    stream: &mut tonic::Streaming<tonic_health::pb::HealthCheckResponse>,
) -> Result<Option<ServingStatus>, Status> {
    Ok(within(stream.message()).await?.map(|answer| answer.status()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_watch_ends_with_the_server_and_the_door_is_shut_afterwards() {
    let house = House::new().await;
    let mut client = HealthClient::new(house.channel().await);
    let mut serving = client.watch(named("")).await.unwrap().into_inner();
    let mut unknown = client.watch(named("nobody.v1.Knows")).await.unwrap().into_inner();
    assert_eq!(next(&mut serving).await.unwrap(), Some(ServingStatus::Serving));
    assert_eq!(next(&mut unknown).await.unwrap(), Some(ServingStatus::ServiceUnknown));
    let open = tokio::time::timeout(Duration::from_millis(100), unknown.message()).await;
    assert!(open.is_err(), "the stream stays open: {open:?}");

    let address = house.addresses.grpc;
    let _foundations = house.drain().await.1;
    for stream in [&mut serving, &mut unknown] {
        let end = loop {
            match next(stream).await {
                Ok(Some(status)) => assert_ne!(status, ServingStatus::Serving, "not after the drain"),
                Ok(None) => panic!("ended as if all were well"),
                Err(end) => break end,
            }
        };
        assert_eq!(told(&end), (Code::Unavailable, "SHUTTING_DOWN".into(), vec![]));
    }
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens");
}
