//! Which cases there are. Each becomes a test of the module that calls the macro.

/// The cases that ask nothing further of a layer.
#[macro_export]
macro_rules! every_layer {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            names::rule_1_bad_names_are_refused,
            names::rule_3_new_channels_have_names_of_their_own,
            names::rule_3_a_prefix_stands_in_front,
            names::rule_30_only_its_own_process_receives,
            names::a_consumers_channel_is_its_own,
            queues::send_receive,
            queues::messages_keep_their_order,
            queues::rule_3_process_local_send_receive,
            queues::rule_23_send_capacity,
            queues::flush_forgets_queues_and_keeps_consumers,
            receive::a_waiting_receive_survives_its_empty_queue,
            receive::a_receive_that_gives_up_leaves_nothing,
            receive::rule_8_a_dropped_receive_loses_nothing,
            receive::rule_8_a_dropped_reader_hands_its_turn_on,
            receive::rule_24_readers_share_a_queue,
            receive::two_runtimes_receive_at_once,
            limits::queues_are_limited,
            limits::queues_of_a_group_are_limited,
            groups::those_in_a_group_receive,
            groups::queues_of_one_process_each_receive,
            groups::groups_are_apart,
            groups::rule_23_group_send_never_fails,
            groups::rule_23_only_the_full_member_misses,
            groups::rule_26_joining_twice_is_joining,
            groups::rule_26_leaving_without_joining_is_nothing,
            groups::a_group_may_be_empty,
            consumers::a_send_reaches_the_handler,
            consumers::rule_23_a_full_consumer_refuses,
            consumers::rule_23_only_the_held_consumer_misses,
            consumers::rule_32_each_consumer_has_its_own_capacity,
            consumers::a_consumer_that_has_gone_is_no_receiver,
            consumers::consumers_are_members_while_they_live,
            consumers::rule_28_membership_from_outside,
            consumers::queues_and_consumers_share_a_group,
            consumers::one_senders_events_keep_their_order,
            consumers::a_burst_is_no_loss_to_members_that_run,
            consumers::members_of_all_types_share_a_group,
            consumers::an_alias_names_a_layer,
            values::rule_35_every_value_arrives,
            values::rule_35_every_value_arrives_from_the_wire,
            values::an_unknown_event_passes,
            values::rule_35_a_megabyte_arrives,
            values::rule_33_receivers_do_not_share,
            blocking::a_plain_thread_sends,
            blocking::threads_come_and_go,
            blocking::a_worker_does_not_block,
            blocking::a_former_worker_blocks,
            blocking::a_thread_runs_consumers_again,
            threads::four_threads_lose_nothing,
            threads::every_kind_of_thread_at_once,
            threads::rule_24_readers_on_threads_share_a_queue,
            threads::rule_23_capacity_is_exact,
            threads::rule_23_a_running_consumer_refuses_nothing,
            threads::joining_and_leaving_are_exact,
            threads::a_stopped_server_leaves_nothing,
            races::consumers_join_and_leave_while_others_send,
            races::queues_join_and_leave_while_others_send,
            races::clients_come_and_go_while_others_send,
            drops::an_event_may_use_the_layer_when_it_is_dropped,
            workers::jobs_are_done_in_order,
            workers::an_error_in_one_job_loses_no_other,
            workers::jobs_are_done_at_once,
            workers::a_stop_lets_a_job_end,
            workers::a_stop_at_once_names_what_it_cancels,
            workers::a_job_sends_and_blocks_elsewhere,
        }
    };
}

/// The cases that move the clock by which messages and groups expire.
#[macro_export]
macro_rules! moved_clock {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            expiry::rule_25_a_message_expires,
            expiry::rule_25_an_unread_channel_is_swept,
            expiry::rule_25_only_fresh_messages_arrive,
            expiry::rule_25_all_arrive_in_time,
            expiry::rule_25_expired_messages_make_room,
            expiry::rule_25_what_a_group_sent_expires,
            expiry::rule_25_an_expired_message_ends_no_membership,
            expiry::an_expiry_may_be_never,
            expiry::rule_27_a_queue_leaves_its_groups,
            expiry::rule_27_adding_again_renews,
            expiry::rule_27_expired_members_make_room,
            expiry::rule_27_a_live_consumer_never_leaves,
            drops::an_event_may_use_the_layer_when_it_expires,
        }
    };
}

/// The cases with several layers on one server.
#[macro_export]
macro_rules! processes {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            processes::a_process_channel_is_sent_to_from_anywhere,
            processes::a_group_spans_processes,
        }
    };
}

/// The cases whose channels keep messages for whoever receives them.
#[macro_export]
macro_rules! stored {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            names::rule_1_every_valid_name_works,
            queues::rule_23_channel_capacity_takes_patterns,
            groups::layers_are_apart,
            workers::jobs_wait_for_their_worker,
            workers::what_is_not_taken_stays,
        }
    };
}

/// The same with several layers on one server, which knows who is in a group.
#[macro_export]
macro_rules! shared {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            processes::a_plain_channel_is_everyones,
            processes::a_plain_channel_in_a_group_is_everyones,
            processes::rule_31_the_senders_capacity_counts,
            processes::rule_28_a_consumer_is_reached_from_another_process,
        }
    };
}

/// The cases with workers of several processes, of which one does each job.
#[macro_export]
macro_rules! workers {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            workers::rule_24_workers_share_the_jobs,
            workers::workers_come_and_go,
        }
    };
}

/// The cases with a [`FaultyServer`](crate::faulty::FaultyServer), which is ended, frozen, or cut off.
#[macro_export]
macro_rules! faults {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            outages::a_restart_closes_no_connection,
            outages::a_send_beside_the_end_of_a_server_is_heard_once,
            outages::away_may_be_an_error,
            outages::a_frozen_server_holds_nobody_up,
            outages::a_sender_waits_at_the_bound_for_a_while,
            outages::a_cut_connection_comes_back,
            outages::members_that_come_and_go_lose_nothing_for_others,
            outages::a_join_is_known_when_it_returns,
            endings::consumers_go_on_behind_the_end,
            endings::a_send_ends_with_its_layer,
            endings::the_end_of_a_layer_writes_what_it_has,
            reports::what_is_wrong_is_said,
            reports::an_unreachable_server_is_one_line,
            reports::a_wrong_password_is_one_line,
            reports::a_connection_that_flaps_is_no_flood,
            reports::a_message_that_is_too_large_is_the_senders_affair,
        }
    };
}

/// The same, if what is too much for the members is dropped.
#[macro_export]
macro_rules! drops {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            outages::what_is_too_much_is_dropped_and_counted,
        }
    };
}

/// Writes a test for each case.
#[doc(hidden)]
#[macro_export]
macro_rules! tests {
    ($server:ty, $attributes:tt $($topic:ident::$case:ident,)*) => {
        $($crate::test! { $server, $attributes $topic $case })*
    };
}

/// Writes the test of one case.
#[doc(hidden)]
#[macro_export]
macro_rules! test {
    ($server:ty, [$($attribute:tt)*] $topic:ident $case:ident) => {
        #[::actix_web::test]
        $($attribute)*
        async fn $case() {
            $crate::$topic::$case::<$server>().await;
        }
    };
}
