/* mail.pml — magazines sent to a heap while its thread drains, ends, and another takes it over.
 *
 * Each step that is one atomic access in C is one statement here; its function is named in the
 * comment `C: function`, and check_models.py fails when that function's text changes. Sequentially
 * consistent, as Spin is; what weak memory adds, tests/model tries on the C source itself.
 *
 *   SENDERS  threads that send a magazine each
 *   a magazine is a bit: in `inbox`, in somebody's hands (`held`), or `sorted` into bitmaps
 */
#ifndef SENDERS
#define SENDERS 2
#endif
#define ALL ((1 << SENDERS) - 1)
#define NOBODY 255

byte lock = NOBODY;     /* the heap's: who holds it */
byte inbox = 0;
byte sorted = 0;
bool is_away = false;   /* what senders read: absence != HEAP_PRESENT */
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

/* C: heap_abandon */
inline abandon(me) {
  enter(me);
  is_away = true;
  drain(me);
  is_listed = true; /* under the orphans' lock */
  leave(me);
  redrain(me)
}

/* C: entry_thread_idle, entry_leave. A locked slow path takes the mark back before it unlocks. */
inline fall_asleep(me) {
  do
  :: true ->
     enter(me);
     drain(me);
     is_away = false;
     leave(me);
     is_away = true;
     if
     :: inbox == 0 -> break
     :: else -> skip
     fi
  od
}

/* C: mail_drain */
proctype owner(byte me) {
  bool has;
  byte held = 0;
  do
  :: true -> enter(me); drain(me); is_away = false; leave(me)
  :: true -> break
  od;
  if
  :: true -> fall_asleep(me) /* for ever: the end below is of its heap */
  :: true ->
     fall_asleep(me); /* and wakes, in a slow path that finds no reason to look at the mail */
     enter(me);
     is_away = false;
     leave(me);
     abandon(me)
  :: true -> abandon(me)
  fi;
  ended++
}

/* C: heap_acquire */
proctype adopter(byte me) {
  bool has, is_mine = false;
  byte held = 0;
  atomic {
    if
    :: is_listed -> is_listed = false; is_mine = true
    :: else -> skip
    fi
  }
  if
  :: !is_mine -> skip
  :: else ->
     is_away = false;
     if
     :: true -> enter(me); drain(me); leave(me)
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
    run owner(SENDERS);
    run adopter(SENDERS + 1)
  }
  (ended == SENDERS + 2);
  /* The heap is an orphan, or its owner asleep: nothing waits where nobody looks, nothing is lost. */
  assert(lock == NOBODY && inbox == 0 && sorted == ALL)
}
