//! The index counts right and stays small.

use super::*;
use crate::task::fixture::task;

#[test]
fn an_entry_is_forty_bytes() {
    assert_eq!(std::mem::size_of::<Entry>(), 40);
}

#[test]
fn a_place_in_the_queue_is_counted_from_the_nearer_end() {
    let mut index = Index::default();
    for number in 0..100 {
        index.put(&task(number), Parts::default());
    }
    for number in 0..120 {
        assert_eq!(index.queued_before(&task(number)), number.min(100) as u32, "{number}");
    }
}

#[test]
fn looking_goes_on_where_it_ended() {
    let mut index = Index::default();
    for number in 0..10 {
        index.put(&task(number).labelled("odd", &(number % 2).to_string()), Parts::default());
    }
    let filter = Filter { labels: [("odd".to_owned(), "1".to_owned())].into(), ..Filter::default() };
    let (found, last) = index.matching(&filter, None, 4, 9);
    assert_eq!((found, last), (vec![task(9).id, task(7).id], Some(task(6).id)));
    let (found, last) = index.matching(&filter, last, 9, 1);
    assert_eq!((found, last), (vec![task(5).id], Some(task(5).id)));
    assert_eq!(index.matching(&filter, Some(task(0).id), 9, 9), (vec![], None));
}
