//! Destroys, reboots and keys.

use std::time::Duration;

use serde_json::json;

use super::{
    client, client_for,
    fake::{Answer, Fake, json as reply, refusal},
};
use crate::{
    fleet::{
        name::InstanceId,
        provider::{DestroyAnswer, ProviderFault},
    },
    vast::Vast,
};

async fn destroy(vast: &Vast) -> DestroyAnswer {
    vast.destroy(InstanceId(7), vast.clock.now().after(Duration::from_secs(30))).await
}

async fn answer_to(answer: Answer) -> DestroyAnswer {
    let fake = Fake::always(answer.clone()).await;
    let outcome = destroy(&client_for(&answer, &fake)).await;
    let seen = fake.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("DELETE", "/api/v0/instances/7/"));
    assert_eq!(seen[0].body, json!({}));
    outcome
}

#[tokio::test]
async fn the_providers_own_word_is_an_acknowledgement() {
    for answer in [
        reply(200, json!({"success": true, "msg": "destroying instance 7."})),
        Answer::Http(204, "application/json", String::new()),
        refusal(404, "no_such_instance", "Instance 7 not found."),
        refusal(404, "not_found", "Instance 7 not found."),
        refusal(400, "no_such_instance", "Instance 7 not found."),
    ] {
        assert_eq!(answer_to(answer.clone()).await, DestroyAnswer::Acknowledged, "{answer:?}");
    }
}

#[tokio::test]
async fn a_404_that_says_something_else_is_not() {
    for answer in [
        refusal(404, "auth_error", "Invalid user key"),
        json404_without_words(),
        Answer::Http(404, "text/html", "<html>Not Found</html>".into()),
        Answer::Http(200, "text/html", "<html>Welcome to this hotel</html>".into()),
        Answer::Http(200, "application/json", String::new()),
        reply(200, json!({})),
        reply(200, json!({"success": false, "error": "busy"})),
        reply(500, json!({"success": false, "error": "no_such_instance"})),
        reply(429, json!({"detail": "API requests too frequent"})),
        Answer::With(301, "location: /\r\n", json!({"success": true})),
        Answer::Close,
        Answer::Hang,
    ] {
        let outcome = answer_to(answer.clone()).await;
        assert!(matches!(&outcome, DestroyAnswer::Failed(_)), "{answer:?} became {outcome:?}");
    }
    let key = answer_to(refusal(404, "auth_error", "Invalid user key")).await;
    assert!(matches!(&key, DestroyAnswer::Failed(ProviderFault::Auth { .. })), "{key:?}");
}

fn json404_without_words() -> Answer {
    reply(404, json!({}))
}

#[tokio::test]
async fn an_expired_destroy_is_not_sent() {
    let fake = Fake::always(reply(200, json!({"success": true}))).await;
    let vast = client(&fake);
    let outcome = vast.destroy(InstanceId(7), crate::fleet::units::Timestamp(0)).await;
    assert!(matches!(&outcome, DestroyAnswer::Failed(_)), "{outcome:?}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_reboot_and_a_key_need_the_providers_success() {
    let fake = Fake::start(|_, seen| match seen.target.as_str() {
        "/api/v0/instances/reboot/7/" if seen.method == "PUT" => reply(200, json!({"success": true})),
        "/api/v0/instances/7/ssh/"
            if seen.method == "POST" && seen.body == json!({"ssh_key": "ssh-ed25519 AAAA"}) =>
        {
            reply(200, json!({"success": true, "msg": "SSH key added."}))
        }
        "/api/v0/instances/8/ssh/" => refusal(400, "invalid_args", "SSH key already exists on instance"),
        _ => refusal(404, "no_such_instance", "Instance not found."),
    })
    .await;
    let vast = client(&fake);
    let soon = vast.clock.now().after(Duration::from_secs(30));
    assert_eq!(vast.reboot(InstanceId(7), soon).await, Ok(()));
    assert!(vast.reboot(InstanceId(9), soon).await.is_err());
    assert_eq!(vast.attach_key(InstanceId(7), "ssh-ed25519 AAAA\n").await, Ok(()));
    assert_eq!(vast.attach_key(InstanceId(8), "ssh-ed25519 AAAA").await, Ok(()));
    assert!(vast.attach_key(InstanceId(9), "ssh-ed25519 AAAA").await.is_err());
}
