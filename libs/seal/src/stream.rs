use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use crate::cipher::FRAME_BYTES;
use crate::{Keyring, Opener, SealError};

/// Opens a stream of pieces of a sealed object. The pieces that come out are at most a frame larger than those that
/// go in; after an error nothing more comes.
pub fn open_stream<E>(
    keys: &Keyring,
    context: &str,
    sealed: BoxStream<'static, Result<Bytes, E>>,
) -> BoxStream<'static, Result<Bytes, E>>
where
    E: From<SealError> + Send + 'static,
{
    let opener = Opener::new(keys, context);
    let pieces = stream::try_unfold(Some((opener, sealed)), |state| async move {
        let Some((mut opener, mut sealed)) = state else { return Ok(None) };
        let mut plain = Vec::new();
        match sealed.try_next().await? {
            Some(piece) => {
                // What the piece before left comes too: at most a frame. Room to grow in would be held as long as these bytes.
                plain.reserve_exact(piece.len() + FRAME_BYTES);
                opener.push(&piece, &mut plain)?;
                Ok(Some((Bytes::from(plain), Some((opener, sealed)))))
            }
            None => {
                opener.finish(&mut plain)?;
                Ok(Some((Bytes::from(plain), None)))
            }
        }
    });
    pieces.try_filter(|piece| std::future::ready(!piece.is_empty())).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_that_ends_early_ends_in_an_error() {
        let keys = Keyring::parse(&"ab".repeat(32), "test").unwrap();
        let plain = vec![7; 300_000];
        let sealed = keys.seal("a", &plain).unwrap();
        for (length, whole) in [(sealed.len(), true), (sealed.len() - 1, false), (200_000, false)] {
            let pieces: Vec<Result<Bytes, SealError>> =
                sealed[..length].chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let opened = open_stream(&keys, "a", stream::iter(pieces).boxed());
            let opened: Result<Vec<Bytes>, SealError> = opened.try_collect().await;
            assert_eq!(
                opened.map(|pieces| pieces.concat() == plain),
                if whole { Ok(true) } else { Err(SealError::Damaged("a".to_owned())) }
            );
        }
    }
}
