use std::sync::Arc;
use std::time::Duration;

use forebay_api::{BoxStream, ErrorKind, InputFrame, ResumePoint, ServiceError};
use forebay_catalog::Input;
use forebay_objects::{Content, InputInfo, StoreError};
use futures::StreamExt;
use tokio::sync::Mutex;

use crate::framing::Frames;

/// How long a client may send nothing while its input is wanted.
const IDLE: Duration = Duration::from_secs(60);

/// The frames that a client sends, handed out input by input, each checked to follow the one before.
#[derive(Clone)]
pub(crate) struct SentFrames(Arc<Mutex<Sending>>);

struct Sending {
    frames: BoxStream<Result<InputFrame, ServiceError>>,
    /// The first frame of the next input, which told that the one before is complete.
    ahead: Option<InputFrame>,
}

impl SentFrames {
    pub(crate) fn new(frames: BoxStream<Result<InputFrame, ServiceError>>) -> Self {
        Self(Arc::new(Mutex::new(Sending { frames, ahead: None })))
    }

    /// The bytes of one input from `offset` on.
    pub(crate) fn of(&self, input: u32, uri: &str, offset: u64) -> Frames {
        let (sending, uri) = (Arc::clone(&self.0), uri.to_owned());
        futures::stream::try_unfold(offset, move |at| {
            let (sending, uri) = (Arc::clone(&sending), uri.clone());
            async move {
                let mut sending = sending.lock().await;
                let frame = loop {
                    match sending.next().await.map_err(|error| interrupted(&uri, error))? {
                        Some(frame) if frame.input > input => {
                            sending.ahead = Some(frame);
                            return Ok(None);
                        }
                        // A client whose own input pauses shows that it is there.
                        Some(frame) if frame.data.is_empty() && frame.input == input => {}
                        Some(frame) => break frame,
                        None => return Ok(None),
                    }
                };
                if (frame.input, frame.offset) != (input, at) {
                    let message = format!(
                        "a frame at byte {} of input {} came where byte {at} of input {input} is due",
                        frame.offset, frame.input
                    );
                    return Err(StoreError::Unreadable { uri, message });
                }
                let next = at + frame.data.len() as u64;
                Ok(Some((frame.data, next)))
            }
        })
        .boxed()
    }
}

impl Sending {
    async fn next(&mut self) -> Result<Option<InputFrame>, ServiceError> {
        if let Some(frame) = self.ahead.take() {
            return Ok(Some(frame));
        }
        match tokio::time::timeout(IDLE, self.frames.next()).await {
            Ok(frame) => frame.transpose(),
            Err(_) => Err(ServiceError::new(
                ErrorKind::DeadlineExceeded,
                "STREAM_IDLE",
                format!("nothing was sent for {} s", IDLE.as_secs()),
            )),
        }
    }
}

/// A client that is gone can come back; one that sends nonsense can't.
fn interrupted(uri: &str, error: ServiceError) -> StoreError {
    let (uri, message) = (uri.to_owned(), error.message);
    match error.kind {
        ErrorKind::InvalidArgument | ErrorKind::NotFound => StoreError::Unreadable { uri, message },
        _ => StoreError::Interrupted { uri, message },
    }
}

/// Where a client goes on with an input. Only text that is not compressed can be continued in the middle; what else
/// there is comes from its start, and is read over.
pub(crate) fn resume_point(input: &Input) -> ResumePoint {
    let info: Option<InputInfo> = input.info.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let seekable = info.is_some_and(|info| {
        info.compression.is_none()
            && !info.sealed
            && matches!(info.content, Content::Ndjson | Content::Json | Content::Csv)
    });
    let offset = if seekable { input.offset } else { 0 };
    ResumePoint { input: input.index, offset, complete: input.complete }
}
