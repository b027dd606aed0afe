//! The list of all cases. Each becomes a test of the module that calls the macro.

/// The cases for every layer.
#[macro_export]
macro_rules! every_layer {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            names::rule_1_bad_names_are_refused,
            names::rule_3_each_new_channel_has_a_unique_name,
            names::rule_3_a_new_channels_name_starts_with_the_prefix,
            names::rule_30_only_its_own_process_receives_from_a_process_channel,
            names::only_the_consumer_receives_from_its_channel,
            queues::a_message_that_was_sent_is_received,
            queues::messages_keep_their_order,
            queues::rule_3_a_message_to_a_process_channel_is_received,
            queues::rule_23_a_send_to_a_full_channel_fails,
            queues::flush_forgets_queues_and_keeps_consumers,
            receive::a_receive_waits_on_when_its_queue_is_drained,
            receive::a_receive_that_is_given_up_leaves_nothing_behind,
            receive::rule_8_a_dropped_receive_loses_nothing,
            receive::rule_8_a_dropped_readers_message_goes_to_the_next,
            receive::rule_24_readers_share_a_queue,
            receive::two_runtimes_receive_at_once,
            limits::the_number_of_queues_is_limited,
            limits::the_number_of_queues_in_a_group_is_limited,
            groups::only_members_of_a_group_receive,
            groups::each_queue_of_a_process_receives_a_groups_event,
            groups::groups_do_not_hear_each_other,
            groups::rule_23_group_send_never_fails,
            groups::rule_23_only_a_full_queue_misses_events,
            groups::rule_26_joining_twice_counts_once,
            groups::rule_26_leaving_without_joining_does_nothing,
            groups::a_send_to_an_empty_group_succeeds,
            consumers::a_send_to_a_channel_reaches_its_consumers_handler,
            consumers::rule_23_a_send_to_a_consumer_with_a_full_inbox_fails,
            consumers::rule_23_only_a_member_with_a_full_inbox_misses_events,
            consumers::rule_32_each_consumer_has_its_own_capacity,
            consumers::a_send_to_a_consumer_that_has_ended_fails,
            consumers::consumers_are_members_until_they_end,
            consumers::rule_28_a_consumer_can_be_added_to_a_group_by_its_channel,
            consumers::queues_and_consumers_share_a_group,
            consumers::events_of_one_sender_keep_their_order,
            consumers::running_members_lose_nothing_in_a_burst,
            consumers::members_of_all_types_share_a_group,
            consumers::a_consumer_uses_only_the_layer_of_its_alias,
            others::a_sender_is_left_out,
            others::channels_are_left_out,
            others::a_channel_that_has_ended_leaves_out_nobody,
            others::sends_to_others_keep_their_order,
            others::a_full_member_that_is_left_out_misses_nothing,
            values::rule_35_every_value_arrives,
            values::rule_35_every_value_arrives_from_the_wire,
            values::an_event_without_a_rust_type_passes_unchanged,
            values::rule_35_a_megabyte_arrives,
            values::rule_33_receivers_do_not_see_each_others_changes,
            blocking::a_thread_without_a_runtime_can_send,
            blocking::each_new_thread_can_send_to_a_group,
            blocking::a_blocking_send_on_a_servers_thread_is_refused,
            blocking::a_thread_may_block_again_after_its_consumers_have_ended,
            blocking::consumers_in_a_threads_second_runtime_are_reached,
            threads::queues_get_the_order_of_the_log,
            threads::sends_of_four_threads_all_arrive,
            threads::all_kinds_of_threads_can_use_a_layer_at_once,
            threads::rule_24_readers_on_threads_share_a_queue,
            threads::rule_23_capacity_is_exact_when_threads_race,
            threads::rule_23_a_running_consumer_refuses_nothing,
            threads::joins_and_leaves_from_another_thread_are_exact,
            threads::a_stopped_server_leaves_no_members_behind,
            races::consumers_join_and_leave_while_others_send,
            races::queues_join_and_leave_while_others_send,
            races::clients_come_and_go_while_others_send,
            drops::an_event_may_use_the_layer_when_it_is_dropped,
            workers::jobs_are_done_in_order,
            workers::a_failed_job_loses_no_other_job,
            workers::as_many_jobs_run_at_once_as_there_are_consumers,
            workers::a_stop_waits_for_the_running_job,
            workers::a_stop_at_once_names_the_job_that_it_cancels,
            workers::a_job_can_send_and_run_blocking_work,
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
            expiry::rule_25_messages_that_have_not_expired_arrive,
            expiry::rule_25_expired_messages_make_room,
            expiry::rule_25_messages_sent_to_a_group_expire,
            expiry::rule_25_an_expired_message_does_not_end_a_membership,
            expiry::messages_and_memberships_can_be_kept_for_ever,
            expiry::rule_27_a_queues_membership_expires,
            expiry::rule_27_adding_again_renews_a_membership,
            expiry::rule_27_expired_members_make_room,
            expiry::rule_27_a_consumers_membership_never_expires,
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
            processes::any_process_can_send_to_a_process_channel,
            processes::a_group_spans_processes,
            processes::a_count_follows_joins_and_leaves,
            others::a_channel_of_another_process_is_left_out,
            others::a_count_over_processes_leaves_out_the_sender,
        }
    };
}

/// The cases with channels that keep messages until someone receives them.
#[macro_export]
macro_rules! stored {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            names::rule_1_every_valid_name_works,
            queues::rule_23_channel_capacity_takes_patterns,
            groups::layers_on_different_servers_do_not_hear_each_other,
            workers::jobs_wait_for_their_worker,
            workers::jobs_that_a_stopped_worker_did_not_take_stay_in_the_layer,
        }
    };
}

/// The same with several layers on one server, which knows the members of groups.
#[macro_export]
macro_rules! shared {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            processes::any_process_can_receive_from_a_plain_channel,
            processes::a_plain_channel_in_a_group_gets_each_event_once,
            processes::rule_31_the_senders_capacity_counts,
            processes::rule_28_a_consumer_is_reached_from_another_process,
            others::a_plain_channel_is_left_out_by_every_process,
        }
    };
}

/// The cases with groups that keep their events, and several layers on one server.
#[macro_export]
macro_rules! history {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            history::a_client_comes_back_to_another_process,
            history::a_place_before_the_first_event_is_a_place,
            history::an_event_leaves_channels_out,
            history::an_own_event_stays_away_from_who_comes_back,
            history::a_late_joiner_gets_the_last_ones,
        }
    };
}

/// The cases with workers in several processes. One of them does each job.
#[macro_export]
macro_rules! workers {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            workers::rule_24_workers_share_the_jobs,
            workers::workers_that_come_and_go_lose_no_job,
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
            outages::a_send_while_the_server_ends_is_heard_once,
            outages::a_send_can_fail_while_the_server_is_away,
            outages::a_frozen_server_blocks_nobody_for_long,
            outages::a_sender_waits_for_room_only_until_the_timeout,
            outages::a_cut_connection_comes_back,
            outages::members_that_come_and_go_cost_others_no_events,
            outages::a_join_is_in_force_when_it_returns,
            endings::consumers_work_after_their_layer_is_closed,
            endings::a_waiting_send_ends_when_its_layer_is_closed,
            endings::close_writes_events_that_still_wait,
            reports::a_wrong_address_or_password_is_reported_at_once,
            reports::an_unreachable_server_is_logged_once_for_each_reason,
            reports::a_wrong_password_is_logged_once,
            reports::a_flapping_connection_does_not_flood_the_log,
            reports::only_the_sender_is_told_that_a_message_is_too_large,
        }
    };
}

/// The cases with a [`LogServer`](crate::history::LogServer), which is ended, frozen, or cut off, or loses its logs.
#[macro_export]
macro_rules! log_faults {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            history::a_slow_server_loses_nothing,
            history::a_frozen_server_makes_nothing_up,
            history::what_was_missed_is_read_without_a_gap,
            history::a_lost_answer_is_looked_for,
            history::what_fell_off_may_have_been_heard,
            history::what_fell_off_comes_once,
            history::an_event_without_a_log_is_said,
            history::a_send_can_fail_instead,
            history::a_join_that_is_given_up_can_be_made_again,
            history::last_events_that_cannot_be_read_are_said,
            history::what_is_trimmed_is_said,
            history::a_deleted_log_is_a_new_epoch,
            history::a_server_that_has_lost_all_is_a_new_epoch,
            history::deleted_entries_are_said,
            history::a_log_that_goes_back_is_noticed,
        }
    };
}

/// The same as [`faults!`](crate::faults), if events are dropped when members are too slow.
#[macro_export]
macro_rules! drops {
    ($server:ty $(, $reason:literal)?) => {
        $crate::tests! {
            $server, [$(#[ignore = $reason])?]
            outages::events_beyond_the_bound_are_dropped_and_counted,
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
