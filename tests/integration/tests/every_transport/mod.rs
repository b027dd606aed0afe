//! A consumer and its client see the same on every transport. One suite of cases runs over each client.

mod cases;
mod subject;

use integration_tests::clients;

/// Makes each case a test of each client's module.
macro_rules! transports {
    ([$($transport:ident: $client:ident),* $(,)?] $cases:tt) => {
        $(transports!(@one $transport, $client, $cases);)*
    };
    (@one $transport:ident, $client:ident, [$($case:ident),* $(,)?]) => {
        mod $transport {
            $(
                #[actix_web::test]
                async fn $case() {
                    super::cases::$case::<super::clients::$client>().await;
                }
            )*
        }
    };
}

transports! {
    [
        websocket: WebSocket,
        event_stream: EventStream,
        long_polling: LongPolling,
        polling: Polling,
        python_event_stream: PythonEventStream,
        python_long_polling: PythonLongPolling,
        python_polling: PythonPolling,
    ]
    [
        messages_arrive_as_they_were_sent,
        large_messages_arrive_whole,
        rule_9_messages_keep_their_order,
        the_scope_hides_what_the_transport_adds,
        rule_22_each_connection_has_a_consumer_of_its_own,
        a_subprotocol_is_chosen_from_those_offered,
        refusals_have_a_status_and_a_body,
        events_sent_while_connecting_come_after_the_accept,
        events_and_relays_of_a_group_keep_their_order,
        a_relay_does_not_overtake_an_event,
        clients_of_a_group_hear_one_another,
        what_a_client_sends_to_others_does_not_come_back,
        an_event_is_heard_by_a_client_that_waits_for_it,
        rule_14_messages_sent_before_a_close_arrive,
        rules_13_15_and_16_cleanup_runs_exactly_once_on_every_way_out,
        rule_13_disconnect_gets_the_clients_close_code,
        messages_sent_before_a_client_closed_are_heard,
        a_client_that_vanishes_is_1006,
        a_message_over_the_limit_is_1009,
        input_that_does_not_parse_is_answered_and_the_connection_lives,
        a_client_that_does_not_read_is_1013,
        a_stream_that_waits_arrives_whole,
        rule_18_a_shutdown_is_1012_with_a_hint,
    ]
}

/// A case that is not listed would never run.
#[test]
fn every_case_is_listed() {
    let (list, cases) = (include_str!("mod.rs"), include_str!("cases.rs"));
    let cases: Vec<_> =
        cases.split("pub(crate) async fn ").skip(1).filter_map(|rest| rest.split('<').next()).collect();
    assert!(cases.len() > 10);
    for case in cases {
        assert!(list.contains(&format!("        {case},")), "{case} is not listed");
    }
}
