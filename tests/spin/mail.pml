/* mail.pml — magazines sent to a heap while its thread drains, ends, and another takes it over.
 *
 * Each step that is one atomic access in C is one statement here; its function is named in the
 * comment `C: function`, and check_models.py fails when that function's text changes. Sequentially
 * consistent, as Spin is; what weak memory adds, tests/model tries on the C source itself.
 *
 *   SENDERS  threads that send a magazine each
 *   OWNERS   threads that the heap is home to; one more may come
 *   a magazine is a bit: in `inbox`, in somebody's hands (`held`), or `sorted` into bitmaps
 */
#ifndef SENDERS
#define SENDERS 2
#endif
#ifndef OWNERS
#define OWNERS 1
#endif
#define ALL ((1 << SENDERS) - 1)
#define NOBODY 255

byte lock = NOBODY;     /* the heap's: who holds it */
byte inbox = 0;
byte sorted = 0;
bool is_away = false;   /* what senders read: absence != HEAP_PRESENT */
byte threads = OWNERS;  /* that the heap is home to */
byte awake = OWNERS;    /* of them, those that look at the inbox now and then */
bool is_listed = false; /* among the orphans: may be adopted */
byte ended = 0;

/* C: lock_try_enter */
inline try_lock(me, has) {
  atomic {
    if
    :: lock == NOBODY -> lock = me; has = true
    :: else -> has = false
    fi
  }
}
/* C: lock_enter */
inline enter(me) { atomic { lock == NOBODY -> lock = me } }
/* C: lock_leave */
inline leave(me) { assert(lock == me); lock = NOBODY }

/* C: mail_drain_to_bitmaps, inbox_take_all */
inline drain(me) {
  assert(lock == me);
  atomic { held = inbox; inbox = 0 }
  assert((sorted & held) == 0);
  sorted = sorted | held;
  held = 0
}

/* C: mail_redrain */
inline redrain(me) {
  do
  :: inbox == 0 -> break
  :: else ->
     if
     :: !is_away -> break
     :: else ->
        try_lock(me, has);
        if
        :: !has -> break
        :: else -> drain(me); leave(me)
        fi
     fi
  od
}

/* C: inbox_pop */
inline pop(me) { /* one CAS; any that waits stands for the newest */
  assert(lock == me);
  atomic {
    if
    :: inbox == 0 -> held = 0
    :: (inbox & 1) -> held = 1
    :: (inbox & 2) -> held = 2
    :: (inbox & 4) -> held = 4
    fi;
    inbox = inbox & ~held
  }
  assert((sorted & held) == 0);
  sorted = sorted | held;
  held = 0
}

/* C: help, empty_some */
inline sort_some(me) {
  pop(me);
  if
  :: true -> pop(me) /* or what is left stays */
  :: true -> skip
  fi;
  leave(me);
  if
  :: is_away -> redrain(me)
  :: else -> skip
  fi
}

/* C: mail_post, inbox_push, is_overdue, is_more_than, heap_is_away */
proctype sender(byte me) {
  bool has;
  byte held = 0;
  atomic { assert((inbox & (1 << me)) == 0); inbox = inbox | (1 << me) } /* one CAS */
  if
  :: is_away -> redrain(me)
  :: else ->
     if
     :: true -> skip /* little waits */
     :: true ->      /* overdue */
        try_lock(me, has);
        if
        :: !has -> skip
        :: else -> sort_some(me)
        fi
     :: true -> enter(me); sort_some(me) /* far too much waits */
     fi
  fi;
  ended++
}

/* C: entry_enter, home_wake */
/* Who was asleep counts again. */
inline enter_awake(me) {
  enter(me);
  if
  :: is_asleep -> is_asleep = false; awake++; is_away = false
  :: else -> skip
  fi
}

/* C: mark_if_away, leave_home */
/* One step, as what home_acquire does: both hold the orphans' lock. `last`: what it returns. An
 * end takes the thread off the counts in the same step. */
inline mark(ends, last) {
  atomic {
    if
    :: ends -> threads--; awake--
    :: else -> skip
    fi;
    last = (awake == 0);
    if
    :: last -> is_away = true
    :: else -> skip
    fi
  }
}

/* C: home_abandon, push_orphan */
inline abandon(me) {
  enter_awake(me);
  mark(true, last);
  if
  :: last ->
     drain(me);
     if
     :: threads == 0 -> is_listed = true /* nobody comes to a home that has none and no list */
     :: else -> skip /* others are asleep, or a guest has come */
     fi
  :: else -> skip
  fi;
  leave(me);
  redrain(me)
}

/* C: entry_thread_idle, idle_flush_own, home_fall_asleep, entry_leave, home_has_mail */
inline fall_asleep(me) {
  do
  :: true ->
     enter_awake(me);
     drain(me);
     is_asleep = true;
     awake--;
     mark(false, last);
     leave(me);
     redrain(me); /* entry_leave */
     if
     :: inbox == 0 || !is_away -> break
     :: else -> skip
     fi
  od
}

/* C: mail_drain */
proctype owner(byte me) {
  bool has, last, is_asleep = false;
  byte held = 0;
  do
  :: true -> progress: enter_awake(me); drain(me); leave(me) /* as often as it likes */
  :: true -> break
  od;
  if
  :: true -> fall_asleep(me) /* for ever: the end below is of its heap */
  :: true ->
     fall_asleep(me); /* and wakes, in a slow path that finds no reason to look at the mail */
     enter_awake(me);
     leave(me);
     abandon(me)
  :: true -> abandon(me)
  fi;
  ended++
}

/* C: home_acquire, choose, choose_host */
proctype adopter(byte me) {
  bool has, last, is_mine = false, is_asleep = false;
  byte held = 0;
  atomic {
    if
    :: is_listed -> is_listed = false; is_mine = true
    :: !is_listed && threads != 0 -> is_mine = true /* a guest more */
    :: else -> skip
    fi;
    if
    :: is_mine -> threads++; awake++; is_away = false
    :: else -> skip
    fi
  }
  if
  :: !is_mine -> skip
  :: else ->
     if
     :: true -> enter_awake(me); drain(me); leave(me)
     :: true -> skip
     fi;
     abandon(me)
  fi;
  ended++
}

init {
  byte i;
  atomic {
    for (i : 0 .. SENDERS - 1) { run sender(i) }
    for (i : 1 .. OWNERS) { run owner(SENDERS - 1 + i) }
    run adopter(SENDERS + OWNERS)
  }
  (ended == SENDERS + OWNERS + 1);
  /* The heap is an orphan, or its owner asleep: nothing waits where nobody looks, nothing is lost. */
  assert(lock == NOBODY && inbox == 0 && sorted == ALL)
}
