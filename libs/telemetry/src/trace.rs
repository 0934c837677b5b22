//! The context of a trace across processes, as a W3C `traceparent`: in the header of a gRPC call, and in a message of
//! the queue.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The header's name.
pub const TRACEPARENT: &str = "traceparent";

/// The context of `span`; none while nothing is traced.
pub fn traceparent_of(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    context
        .is_valid()
        .then(|| format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8()))
}

/// The context that this code runs in; none while nothing is traced.
pub fn traceparent() -> Option<String> {
    traceparent_of(&Span::current())
}

/// Makes `span` a part of the trace that `traceparent` comes from. A text that is none is ignored, as the standard
/// wants it: it comes from outside. Call it before the span is entered.
pub fn follow(span: &Span, traceparent: &str) {
    if span.is_disabled() {
        return;
    }
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &carrier);
    if context.span().span_context().is_valid() && span.set_parent(context).is_err() {
        tracing::debug!("a span had begun before it was told its trace");
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_context_comes_through_as_text() {
        assert_eq!(traceparent(), None);
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        assert_eq!(traceparent(), None, "outside of a span");
        let text = tracing::info_span!("first").in_scope(traceparent).unwrap();
        let (trace, rest) = text.strip_prefix("00-").unwrap().split_once('-').unwrap();
        assert_eq!((trace.len(), rest.len(), rest.ends_with("-01")), (32, 19, true), "{text}");
        let later = tracing::info_span!("later");
        follow(&later, &text);
        let continued = later.in_scope(traceparent).unwrap();
        assert!(continued.contains(trace) && continued != text, "{continued}");
        for wrong in ["", "garbage", &text[..20], "00-00000000000000000000000000000000-0000000000000000-01"] {
            let span = tracing::info_span!("apart");
            follow(&span, wrong);
            assert!(!span.in_scope(traceparent).unwrap().contains(trace), "{wrong}");
        }
    }
}
