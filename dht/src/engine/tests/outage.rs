//! Silence, sleep and other networks.

use super::*;

#[test]
fn who_is_cut_off_is_told_after_half_a_second_of_silence_and_not_after_an_idle_night() {
    let is_disconnected = |world: &mut World| {
        let (reply, mut answer) = oneshot::channel();
        world.command(Command::IsDisconnected(reply));
        answer.try_recv().unwrap()
    };
    let mut world = World::joined(10, 0);
    world.pass(Duration::from_secs(600));
    let _finding = world.find(&key(), false);
    assert!(!is_disconnected(&mut world));
    world.pass(Duration::from_secs(1));
    world.silence(|_| true);
    let _finding = world.find(&key(), false);
    world.pass(milliseconds(450));
    assert!(!is_disconnected(&mut world));
    world.pass(milliseconds(300));
    assert!(is_disconnected(&mut world));
    assert_eq!(*world.known.borrow(), 0, "who asks now waits");
    world.nodes.iter_mut().for_each(|node| node.delay = Some(milliseconds(50)));
    world.pass(milliseconds(600));
    assert!(!is_disconnected(&mut world));
    assert_eq!(*world.known.borrow(), 10);
}

#[test]
fn one_node_that_does_not_answer_is_no_outage_before_ten_seconds_are_over() {
    let mut world = World::joined(1, 0);
    world.silence(|_| true);
    let _finding = world.find(&key(), false);
    world.pass(Duration::from_secs(9));
    assert!(!world.engine.families.get(Family::V4).unwrap().is_disconnected(world.now));
    world.pass(Duration::from_secs(2));
    assert!(world.engine.families.get(Family::V4).unwrap().is_disconnected(world.now));
}

#[test]
fn who_wakes_in_another_network_answers_within_two_seconds() {
    for hears_first in [true, false] {
        let mut world = World::joined(200, 0);
        for index in world.nearest(&key(), true).into_iter().take(20) {
            world.set(index, &packet(9));
        }
        world.pass(Duration::from_secs(5));
        // Asleep, once in the middle of a search, whose requests are lost.
        world.silence(|_| true);
        let _lost = (!hears_first).then(|| world.find(&key(), false));
        world.now += Duration::from_secs(8 * 3600);
        world.pass(milliseconds(1));
        assert_eq!(*world.known.borrow(), 0, "nobody has answered here yet");
        if !hears_first {
            // The network is there a second later than we are.
            world.pass(Duration::from_secs(1));
        }
        world.nodes.iter_mut().for_each(|node| node.delay = Some(milliseconds(50)));
        world.pass(milliseconds(600));
        assert!(*world.known.borrow() > 100, "{}", *world.known.borrow());
        let mut finding = world.find(&key(), false);
        let (result, time) = world.wait(&mut finding.done);
        assert!(result.is_ok() && time < milliseconds(400), "{result:?} after {time:?}");
        assert_eq!(finding.found.try_recv().map(|packet| packet.timestamp()), Ok(9));
    }
}
