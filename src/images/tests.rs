//! A name that turns inward between two looks: the address that is connected to is
//! the one that was judged, whatever the name says next.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::network::{GuardedResolver, client_builder};
use crate::task::id::ModelName;
use crate::task::picture::tests::png_head;

/// A host that gives everybody the same picture, and counts them.
async fn host(address: &str) -> (u16, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let (port, callers) = (listener.local_addr().unwrap().port(), Arc::default());
    let counted: Arc<std::sync::atomic::AtomicUsize> = Arc::clone(&callers);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4096]).await;
            let picture = png_head(640, 360);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", picture.len());
            let _ = stream.write_all(&[head.as_bytes(), &picture].concat()).await;
        }
    });
    (port, callers)
}

fn looking(answers: &[&str]) -> Images {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let guard = Guard::new(&["127.0.0.1"]).unwrap();
    let resolver = Arc::new(GuardedResolver::scripted(guard.clone(), answers));
    let client = client_builder(&guard).dns_resolver(resolver).build().unwrap();
    let catalog = Arc::new(Catalog::built_in());
    Images { guard, catalog, fetcher: Some(Fetcher::with(client)), memory: Memory::default() }
}

fn linking(uri: String) -> Spec {
    Spec { start_image: Some(Image::Uri(uri)), ..Spec::new(ModelName::parse("kling/kling-v2-6").unwrap()) }
}

#[tokio::test]
async fn a_name_that_turns_inward_is_not_followed_there() {
    let (port, outside) = host("127.0.0.1:0").await;
    // 127.0.0.2 is the inside of this test: nothing allows it.
    let (_, inside) = host(&format!("127.0.0.2:{port}")).await;
    let images = looking(&["127.0.0.1", "127.0.0.2"]);
    assert_eq!(images.look(&linking(format!("http://files.internal:{port}/a.png"))).await, Verdict::Good);
    let turned = images.look(&linking(format!("http://files.internal:{port}/b.png"))).await;
    let Verdict::Refused(findings) = turned else { panic!("{turned:?}") };
    assert_eq!(findings[0].field, "spec.start_image");
    assert!(findings[0].message.contains("no public address"), "{findings:?}");
    let count = |callers: Arc<std::sync::atomic::AtomicUsize>| callers.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((count(outside), count(inside)), (1, 0));
}

#[tokio::test]
async fn of_a_public_name_that_leads_inside_nothing_is_called() {
    let (port, inside) = host("127.0.0.2:0").await;
    let images = looking(&["127.0.0.2"]);
    for uri in ["https://pictures.example/a.png".to_owned(), format!("http://localhost:{port}/a.png")] {
        assert!(matches!(images.look(&linking(uri)).await, Verdict::Refused(_)));
    }
    assert_eq!(inside.load(std::sync::atomic::Ordering::Relaxed), 0);
}
