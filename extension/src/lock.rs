//! Locks in a space of our own. SQL's advisory locks use classes 1 and 2 of their lock tag; these use 3 to 6, so
//! nobody can take them but through here.

use pgrx::pg_sys;
use pgrx::prelude::*;

/// What a lock is for: the class in its tag.
#[derive(Clone, Copy)]
#[repr(u16)]
enum Class {
    Wake = 3,
    Slot = 4,
    Member = 5,
    EventType = 6,
}

/// Takes the wake lock until the end of the transaction, unless somebody has it.
pub fn try_lock_wake() -> bool {
    try_lock(&tag(Class::Wake, 0), false)
}

/// Takes the lock for entering an event type, told by a hash, until the end of the transaction, unless somebody has it.
pub fn try_lock_event_type(hash: u32) -> bool {
    try_lock(&tag(Class::EventType, hash), false)
}

/// Takes a slot, of so many, for this session, unless somebody has it.
#[pg_extern(sql = false)]
fn try_lock_slot(slots: i32, slot: i32) -> bool {
    try_lock(&slot_tag(slots, slot), true)
}

/// Gives back a slot of this session; false if it did not have it.
#[pg_extern(sql = false)]
fn unlock_slot(slots: i32, slot: i32) -> bool {
    let tag = slot_tag(slots, slot);
    held(&tag) && unsafe { pg_sys::LockRelease(&tag, pg_sys::ExclusiveLock as i32, true) }
}

/// Counts this session among the workers until it ends.
#[pg_extern(sql = false)]
fn lock_member() {
    let tag = tag(Class::Member, unsafe { pg_sys::MyProcPid } as u32);
    if !held(&tag) {
        try_lock(&tag, true);
    }
}

/// Slots of another number in all are other slots.
fn slot_tag(slots: i32, slot: i32) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG { locktag_field2: slots as u32, ..tag(Class::Slot, slot as u32) }
}

fn tag(class: Class, number: u32) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: 0,
        locktag_field3: number,
        locktag_field4: class as u16,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

fn held(tag: &pg_sys::LOCKTAG) -> bool {
    unsafe {
        pg_sys::LockHeldByMe(
            tag,
            pg_sys::ExclusiveLock as i32,
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            false,
        )
    }
}

/// Never waits, and does not fail when the lock table is full: then the lock is not had.
fn try_lock(tag: &pg_sys::LOCKTAG, for_session: bool) -> bool {
    let result = unsafe {
        pg_sys::LockAcquireExtended(
            tag,
            pg_sys::ExclusiveLock as i32,
            for_session,
            true,
            false,
            std::ptr::null_mut(),
            #[cfg(feature = "pg18")]
            false,
        )
    };
    matches!(
        result,
        pg_sys::LockAcquireResult::LOCKACQUIRE_OK
            | pg_sys::LockAcquireResult::LOCKACQUIRE_ALREADY_HELD
            | pg_sys::LockAcquireResult::LOCKACQUIRE_ALREADY_CLEAR
    )
}
