//! A light client: sends messages and throws the answers away undecoded, since it
//! shares the machine with the server that is measured.

use prost::Message;
use prost::bytes::Buf;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::Result;

/// Calls a unary method and hands back how long its answer is.
pub async fn call<M: Message + Default + 'static>(channel: &Channel, path: &'static str, message: M) -> Result<usize> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await?;
    let codec = Skim::<M>::default();
    Ok(client.unary(Request::new(message), PathAndQuery::from_static(path), codec).await?.into_inner())
}

/// Opens a stream of the lengths of its messages.
pub async fn open<M: Message + Default + 'static>(
    channel: &Channel,
    path: &'static str,
    message: M,
) -> Result<Streaming<usize>> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await?;
    let codec = Skim::<M>::default();
    Ok(client.server_streaming(Request::new(message), PathAndQuery::from_static(path), codec).await?.into_inner())
}

/// Writes messages; reads their length and nothing else.
struct Skim<M>(std::marker::PhantomData<M>);

impl<M> Default for Skim<M> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<M: Message + Default + 'static> Codec for Skim<M> {
    type Encode = M;
    type Decode = usize;
    type Encoder = ProstEncoder<M>;
    type Decoder = Lengths;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<M, M>::default().encoder()
    }

    fn decoder(&mut self) -> Lengths {
        Lengths
    }
}

struct Lengths;

impl Decoder for Lengths {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> std::result::Result<Option<usize>, Status> {
        let bytes = message.remaining();
        message.advance(bytes);
        Ok(Some(bytes))
    }
}
