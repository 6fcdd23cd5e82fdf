/* fork.pml — the fork gate: between prepare and parent no other thread is inside what an outermost
 * lock protects, two forking threads wait for each other, and all of them end. The child finds
 * whole what the locks protect, and can take each of them.
 *
 * Two locks are taken without a look at the gate: a second heap's while the own one is held, and
 * any heap's under the purge lock. A fork waits for the lock below, which is given back last.
 * A thread may allocate while it holds libc's lock of streams, which libc's fork takes, too, after
 * all handlers: prepare takes it before the gate.
 */
#define HEAPS 2
#define PURGE HEAPS
#define LOCKS (HEAPS + 1)
#define NOBODY 255
#ifndef ROUNDS
#define ROUNDS 2
#endif

byte word[LOCKS] = NOBODY; /* of the locks: who holds it */
byte gate = NOBODY;        /* who forks */
byte inside[LOCKS] = 0;    /* who does work there, in earnest */
byte forking = 0;
bool has_streams = false; /* that lock: there is none without threads, or glibc */
byte streams = NOBODY;    /* who holds it; it is recursive */
byte streams_depth = 0;
byte ended = 0;

/* C: word_take */
inline take(me, l) { atomic { word[l] == NOBODY -> word[l] = me } } /* one CAS; else it waits */

/* C: lock_enter, gate_is_closed, gate_wait, unlock */
inline enter(me, l) {
  do
  :: take(me, l);
     if
     :: gate == NOBODY || gate == me -> break
     :: else ->
        word[l] = NOBODY;
        (gate == NOBODY || gate == me) /* sleeps on the gate */
     fi
  od
}

/* C: os_streams_lock */
inline take_streams(me) {
  if
  :: has_streams ->
     atomic { (streams == NOBODY || streams == me) -> streams = me; streams_depth++ }
  :: else -> skip
  fi
}

/* C: os_streams_unlock */
inline leave_streams(me) {
  atomic {
    if
    :: has_streams ->
       assert(streams == me && streams_depth != 0);
       streams_depth--;
       if
       :: streams_depth == 0 -> streams = NOBODY
       :: else -> skip
       fi
    :: else -> skip
    fi
  }
}

/* C: lock_try_second */
inline try_second(me, l, has) {
  atomic {
    if
    :: word[l] == NOBODY -> word[l] = me; has = true
    :: else -> has = false
    fi
  }
}

/* C: lock_leave */
inline leave(me, l) { assert(word[l] == me); word[l] = NOBODY }

/* Not C: a change of what the lock protects, not whole in between. */
inline change(l) {
  inside[l]++;
  assert(inside[l] == 1 && forking == 0);
  inside[l]--
}

/* C: pull_slab, help, mail_redrain, free_direct, heap_enter_with, heap_leave_with */
/* Each with its own heap's lock held may try the other's, which it gives back first. */
proctype worker(byte me; byte own) {
  bool has = false;
  byte rounds = 0;
  do
  :: rounds == ROUNDS -> break
  :: else ->
     rounds++;
     if
     :: own == 0 -> take_streams(me)
     :: true -> skip
     fi;
     enter(me, own);
     if
     :: true ->
        try_second(me, 1 - own, has);
        if
        :: has -> change(1 - own); leave(me, 1 - own)
        :: else -> skip
        fi
     :: true -> skip
     fi;
     change(own);
     leave(me, own);
     if
     :: streams == me -> leave_streams(me)
     :: else -> skip
     fi
  od;
  ended++
}

/* C: purge_begin, purge_pages, owner_lock, lock_under_purge, purge_end */
proctype purger(byte me) {
  byte l = 0;
  enter(me, PURGE);
  do
  :: take(me, l);
     change(l);
     leave(me, l);
     if
     :: l == 0 -> l = 1 /* pulled meanwhile */
     :: true -> break
     fi
  od;
  leave(me, PURGE);
  ended++
}

/* C: lock_fork_child, os_streams_reset, free_in_child */
/* All memory is copied between prepare and parent, this and that at different moments. In the
 * child this thread is alone; what it cannot take there, nobody gives back. */
inline child(me) {
  for (l : 0 .. LOCKS - 1) {
    copy[l] = word[l];
    assert(inside[l] == 0)
  }
  for (l : 0 .. LOCKS - 1) {
    if
    :: copy[l] != NOBODY && copy[l] != me -> copy[l] = NOBODY
    :: else -> skip
    fi;
    assert(copy[l] == NOBODY);
    copy[l] = 0
  }
}

/* C: lock_fork_prepare, gate_close, wait_until_free, for_each_held, lock_fork_parent, gate_open */
/* Forks that come amid a slow path, for which it backs out: tests/model/test_model_lock.c. */
proctype forker(byte me) {
  byte l, first, copy[LOCKS];
  take_streams(me);
  atomic { gate == NOBODY -> gate = me } /* one CAS; a failed one waits for the gate */
  if /* the registry's order is any */
  :: true -> first = 0
  :: true -> first = LOCKS - 1
  fi;
  for (l : 0 .. LOCKS - 1) {
    (word[(first + l) % LOCKS] == NOBODY || word[(first + l) % LOCKS] == me)
  }
  forking++;
  assert(forking == 1);
  take_streams(me); /* libc's fork */
  child(me);
  leave_streams(me);
  if /* its own handlers may allocate */
  :: true -> enter(me, 0); leave(me, 0)
  :: true -> skip
  fi;
  forking--;
  gate = NOBODY;
  leave_streams(me);
  ended++
}

init {
  if
  :: true -> has_streams = true
  :: true -> skip
  fi;
  atomic {
    run worker(0, 0);
    run worker(1, 1);
    run purger(2);
    run forker(3);
    run forker(4)
  }
  (ended == 5);
  assert(gate == NOBODY && streams == NOBODY && word[0] == NOBODY && word[1] == NOBODY && word[PURGE] == NOBODY)
}
