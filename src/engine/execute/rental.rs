//! Commands to the provider about one rental: creates, destroys, starts, labels, keys.

use std::{sync::Arc, time::Duration};

use super::Executor;
use crate::{
    fleet::{
        command::in_time,
        event::Event,
        name::{InstanceId, Label, NodeName},
        offer::Offer,
        policy::Policy,
        provider::{CreateAnswer, DestroyAnswer, ProviderFault, StartAnswer},
        units::{Money, Timestamp},
    },
    retry::{Backoff, Failure, RetryPolicy, retry},
    vast::CreateRequest,
};

/// How patiently our key is attached: the instance may not take it in its first minutes.
const ATTACH_PATIENCE: Duration = Duration::from_secs(300);

impl Executor {
    pub(super) fn create(
        &mut self,
        node: NodeName,
        offer: Offer,
        label: Label,
        not_after: Timestamp,
        policy: &Policy,
    ) {
        let Some(spec) = policy.nodes.get(&node).cloned() else { return };
        let (edges, clock) = (Arc::clone(&self.edges), self.clock);
        self.spawn_drastic(async move {
            let op = label.op.clone();
            let answer = if !in_time(clock.now(), not_after) {
                CreateAnswer::NotSent("the command expired before it was sent".into())
            } else {
                let request = CreateRequest {
                    offer: offer.id,
                    label: &label,
                    rental: &spec.rental,
                    bid: offer.bid,
                    not_after,
                };
                edges.vast.create(request).await
            };
            tracing::info!(%node, %op, offer = %offer.id, ?answer, "create answered");
            Some(Event::CreateAnswered { node, op, answer })
        });
    }

    pub(super) fn destroy(&mut self, instance: InstanceId, not_after: Timestamp) {
        self.witnessing.remove(&instance);
        let (edges, clock) = (Arc::clone(&self.edges), self.clock);
        self.spawn_drastic(async move {
            let answer = if !in_time(clock.now(), not_after) {
                let detail = "the command expired before it was sent".into();
                DestroyAnswer::Failed(ProviderFault::Unreachable { detail })
            } else {
                edges.vast.destroy(instance, not_after).await
            };
            tracing::info!(%instance, ?answer, "destroy answered");
            edges.remote.forget(instance);
            Some(Event::DestroyAnswered { instance, answer })
        });
    }

    /// Whether it worked, the next lists show.
    pub(super) fn start(
        &mut self,
        node: NodeName,
        instance: InstanceId,
        bid: Option<Money>,
        not_after: Timestamp,
    ) {
        let (edges, clock) = (Arc::clone(&self.edges), self.clock);
        self.spawn_drastic(async move {
            let answer = if in_time(clock.now(), not_after) {
                edges.vast.start(instance, bid, not_after).await
            } else {
                let detail = "the command expired before it was sent".into();
                StartAnswer::Failed(ProviderFault::Unreachable { detail })
            };
            tracing::info!(%node, %instance, ?bid, ?answer, "start answered");
            Some(Event::StartAnswered { node, instance, answer })
        });
    }

    /// Whether it worked, the next list shows.
    pub(super) fn relabel(&mut self, instance: InstanceId, label: Label, not_after: Timestamp) {
        let edges = Arc::clone(&self.edges);
        self.spawn(async move {
            match edges.vast.relabel(instance, &label, not_after).await {
                Ok(()) => tracing::info!(%instance, %label, "relabelled"),
                Err(fault) => tracing::warn!(%instance, %fault, "the label could not be changed"),
            }
            None
        });
    }

    pub(super) fn attach_key(&mut self, instance: InstanceId) {
        let edges = Arc::clone(&self.edges);
        let policy = RetryPolicy { give_up_after: Some(ATTACH_PATIENCE), ..RetryPolicy::default() };
        let backoff = Backoff::new(policy, instance.0);
        self.spawn(async move {
            let attached = retry(backoff, || async {
                let attached = edges.vast.attach_key(instance, edges.remote.public_key()).await;
                attached.map_err(|fault| match &fault {
                    // A fresh instance may be unknown for a moment, so a refusal may pass as well; our key will not.
                    ProviderFault::Auth { .. } | ProviderFault::Credit { .. } => Failure::Final(fault),
                    ProviderFault::RateLimited { .. }
                    | ProviderFault::Refused { .. }
                    | ProviderFault::Unreachable { .. }
                    | ProviderFault::Malformed { .. } => {
                        let hint = fault.retry_after();
                        Failure::Passing(fault, hint)
                    }
                })
            });
            if let Err(fault) = attached.await {
                tracing::warn!(%instance, %fault, "our key could not be attached");
            }
            None
        });
    }
}
