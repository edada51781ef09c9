use std::sync::Arc;

use hyper_util::service::TowerToHyperService;

use super::*;
use crate::{fleet::view::Request as Wished, metrics::Metrics};

/// What the site answers to one request, and the wish that reached the daemon.
async fn answer(method: &str, uri: &str, body: &str) -> (StatusCode, String, String, Option<Wished>) {
    let (site, mut questions) = Site::new(Arc::new(Metrics::new()), None);
    let daemon = tokio::spawn(async move {
        match questions.recv().await {
            Some(Question::Ask { request, reply }) => {
                let _ = reply.send(Some(Reply::Accepted("done".into())));
                Some(request)
            }
            _ => None,
        }
    });
    let request = axum::http::Request::builder()
        .method(method)
        .uri(uri)
        .header(header::CONTENT_TYPE, "application/json")
        .body(axum::body::Body::from(body.to_owned()))
        .unwrap();
    let service = TowerToHyperService::new(control(site));
    let response = hyper::service::Service::call(&service, request).await.unwrap();
    drop(service);
    let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let status = response.status();
    let text = to_bytes(response.into_body(), 65_536).await.unwrap();
    (status, kind, String::from_utf8(text.to_vec()).unwrap(), daemon.await.unwrap())
}

#[tokio::test]
async fn every_error_is_problem_json() {
    for (method, uri, body, status) in [
        ("GET", "/nowhere", "", 404),
        ("DELETE", "/api/v1/fleet", "", 405),
        ("GET", "/api/v1/events?after=minus", "", 400),
        ("GET", "/api/v1/events?colour=red", "", 400),
        ("GET", "/api/v1/incidents/first", "", 400),
        ("POST", "/api/v1/control", "{", 400),
        ("POST", "/api/v1/control", "{}", 422),
    ] {
        let (got, kind, text, _) = answer(method, uri, body).await;
        assert_eq!(
            (got.as_u16(), kind.as_str()),
            (status, "application/problem+json"),
            "{method} {uri}: {text}"
        );
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["status"], status, "{text}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{text}");
    }
}

#[tokio::test]
async fn a_name_cannot_forge_lines_or_fill_the_journal() {
    let by = format!("eve\\n\\u001b[2Jroot\\u202e{}", "x".repeat(10_000));
    let body = format!(r#"{{"node":"duel-0","wish":"pause","by":"{by}"}}"#);
    let (status, _, text, wished) = answer("POST", "/api/v1/control", &body).await;
    assert_eq!(status, 200, "{text}");
    let name = wished.unwrap().by;
    assert!(name.starts_with("eve??[2Jroot?xxx") && name.chars().count() == NAME_LENGTH, "{name}");
    assert_eq!(name_of(" \t "), "somebody");
}
