/* pull.pml — a slab changes its owner by a pull, while objects of it lie in magazines of the old
 * one, are on their way there, or are freed by a third thread.
 *
 * Each step that is one access in C is one statement here, as in mail.pml. What a heap's lock
 * protects is written in as many steps as it takes to see that the lock is held.
 *
 *   heaps 0 and 1, with a thread each; REMOTES threads of other heaps, which own nothing here
 *   one slab. An object is a bit: free (`bits`), in a bin, an outbox, an inbox, among the strays of
 *   a heap or of a thread, or in the program's hands; at any time in one of these
 *
 * Four threads, two of them remote, have 24 million states and want 2.4 GB: -DREMOTES=2 -DROUNDS=0,
 * in the long test.
 */
#ifndef REMOTES
#define REMOTES 1
#endif
#ifndef ROUNDS
#define ROUNDS 1 /* of the thread that objects are of at first; the other has one */
#endif
#define OBJECTS (4 - REMOTES)
#define ALL ((1 << OBJECTS) - 1)
#define HEAPS 2
#define NOBODY 255
#define RELEASED 254 /* in place of an owner: the slab went back, the map says freed */
#define LOWEST(set) ((set) & -(set))
#define COUNT(set) (((set) & 1) + ((set) >> 1 & 1) + ((set) >> 2 & 1))

byte lock[HEAPS] = NOBODY;
byte owner = 0;              /* what the slab map says */
byte bits = 0;               /* the slab's: free objects. The others are out */
bool is_listed[HEAPS];       /* the slab is on that heap's list of those with free objects */
bool is_empty_slab[HEAPS];   /* and is the one that it keeps though empty */
byte taken[HEAPS];           /* objects that are out, of the slabs of the heap */
byte inbox[HEAPS];
byte strays[HEAPS];
byte bin[HEAPS];             /* with second magazine and depot: all that a heap caches */
bool is_away[HEAPS];
byte ended = 0;

/* C: lock_enter */
inline enter(l) { atomic { lock[l] == NOBODY -> lock[l] = me } }
/* C: lock_try_enter, lock_try_second */
inline try_lock(l) {
  atomic {
    if
    :: lock[l] == NOBODY -> lock[l] = me; has = true
    :: else -> has = false
    fi
  }
}
/* C: lock_leave */
inline leave(l) { atomic { assert(lock[l] == me); lock[l] = NOBODY } }

/* C: flush_slots, flush_scattered, flush_neighbours, flush_span, flush_mix, flush_magazine */
/* C: flush_stranger, is_stray, note_stray, flush_slab_gained, slab_emptied, flush_link_slab */
/* The objects of `held`, one after the other. */
inline flush(h) {
  do
  :: held == 0 -> break
  :: else ->
     atomic { one = LOWEST(held); held = held & ~one }
     if
     :: owner == h -> /* the map's entry, read for each object */
        atomic { word = bits; assert((word & one) == 0) }
        atomic {
          assert(lock[h] == me && owner == h && bits == word);
          bits = word | one;
          assert(taken[h] != 0);
          taken[h]--;
          if
          :: word == 0 -> assert(!is_listed[h]); is_listed[h] = true
          :: else -> assert(is_listed[h])
          fi;
          if
          :: bits == ALL -> assert(!is_empty_slab[h]); is_empty_slab[h] = true
          :: else -> skip
          fi
        }
     :: else ->
        atomic {
          assert(lock[h] == me && owner != RELEASED && (strays[h] & one) == 0);
          strays[h] = strays[h] | one
        }
     fi;
     atomic { one = 0; word = 0 }
  od
}

/* C: flush_empty_slab, flush_unlink_slab */
inline release_empty(h) {
  if
  :: is_empty_slab[h] ->
     atomic {
       assert(lock[h] == me && owner == h && bits == ALL && taken[h] == 0 && is_listed[h]);
       is_empty_slab[h] = false;
       is_listed[h] = false;
       owner = RELEASED
     }
  :: else -> skip
  fi
}

/* C: inbox_take_all, mail_drain_to_bitmaps */
inline drain(h) {
  atomic { assert(lock[h] == me); held = inbox[h]; inbox[h] = 0 }
  flush(h)
}

/* C: flush_take_strays */
inline take_strays(h) {
  atomic {
    assert(lock[h] == me && (to_free & strays[h]) == 0);
    to_free = to_free | strays[h];
    strays[h] = 0
  }
}

/* C: mail_redrain, heap_is_away */
inline redrain(h, takes) {
  do
  :: inbox[h] == 0 -> break
  :: else ->
     if
     :: !is_away[h] -> break
     :: else ->
        try_lock(h);
        if
        :: !has -> break
        :: else ->
           drain(h);
           release_empty(h);
           if
           :: takes -> take_strays(h)
           :: else -> skip
           fi;
           leave(h)
        fi
     fi
  od
}

/* C: mail_post, inbox_push, help, empty_some, inbox_pop */
/* One CAS; then, where the owner is away or too much waits, some of what lies there to the bits. */
inline post(h) {
  atomic {
    assert((inbox[h] & out[h]) == 0);
    inbox[h] = inbox[h] | out[h];
    out[h] = 0
  }
  has = is_away[h];
  if
  :: has -> skip
  :: !has -> skip /* little waits */
  :: !has ->
     try_lock(h);
     if
     :: !has -> skip
     :: else ->
        atomic {
          if
          :: held = inbox[h]
          :: held = LOWEST(inbox[h])
          fi;
          inbox[h] = inbox[h] & ~held
        }
        flush(h);
        take_strays(h);
        leave(h)
     fi
  fi;
  if
  :: has -> redrain(h, true) /* which looks whether it is away, once more or for the first time */
  :: else -> skip
  fi
}

/* C: entry_free, entry_free_slow, outbox_try_collect, outbox_collect */
/* What the map says decides, at this moment: the own bin, or the outbox for that heap. */
inline free(set) {
  atomic {
    assert(owner != RELEASED);
    if
    :: owner == me -> assert((bin[me] & (set)) == 0); bin[me] = bin[me] | (set)
    :: else -> out[owner] = out[owner] | (set)
    fi
  }
}

/* C: entry_settle_strays, entry_settle_strays_now, entry_free_strays */
inline settle() {
  do
  :: to_free == 0 -> break
  :: else ->
     has_settled = true;
     atomic { one = LOWEST(to_free); to_free = to_free & ~one }
     free(one)
  od;
  one = 0
}

/* C: pull_slab, pull_from, pull.c:take_from, emptiest, count_taken, pull_has_surplus */
/* `me` has its own lock and only tries the other's. Offers are hints, and so is what is a surplus:
 * here anything that is listed may go, at any time, or not. */
inline pull() {
  other = 1 - me;
  if
  :: true -> skip
  :: true ->
     try_lock(other);
     if
     :: !has -> skip
     :: else ->
        if
        :: is_listed[other] ->
           atomic {
             word = bits;
             assert(lock[other] == me && owner == other && word != 0);
             is_empty_slab[other] = false;
             is_listed[other] = false;
             assert(taken[other] >= OBJECTS - COUNT(word));
             taken[other] = taken[other] - (OBJECTS - COUNT(word))
           }
           owner = me;
           atomic {
             taken[me] = taken[me] + (OBJECTS - COUNT(word));
             assert(lock[me] == me && !is_listed[me] && !is_empty_slab[me] && bits == word);
             is_listed[me] = true;
             word = 0
           }
        :: else -> skip
        fi;
        leave(other);
        redrain(other, false) /* the strays stay there */
     fi
  fi;
  other = 0
}

/* C: take_from_slabs, refill.c:take_from, slab_take */
/* An object for the program, which frees it after the slow path; here as if it were a stray. */
inline allocate() {
  if
  :: !is_listed[me] -> skip
  :: else ->
     word = bits;
     atomic {
       assert(lock[me] == me && owner == me && bits == word && word != 0);
       one = LOWEST(word);
       bits = word & ~one;
       is_empty_slab[me] = false;
       taken[me]++;
       if
       :: bits == 0 -> is_listed[me] = false
       :: else -> skip
       fi
     }
     atomic { to_free = to_free | one; one = 0; word = 0 }
  fi
}

/* C: flush_owner_magazines, idle_flush_own, outbox_send_all, home_fall_asleep, entry_thread_idle */
/* C: home_wake, home_has_mail */
inline fall_asleep() {
  do
  :: true ->
     has_settled = false;
     enter(me);
     is_away[me] = false;
     atomic { held = bin[me]; bin[me] = 0 }
     flush(me);
     if
     :: out[1 - me] != 0 -> post(1 - me)
     :: else -> skip
     fi;
     drain(me);
     release_empty(me);
     is_away[me] = true;
     take_strays(me);
     leave(me);
     redrain(me, true);
     settle();
     if
     :: !has_settled && inbox[me] == 0 -> break
     :: else -> skip
     fi
  od
}

/* C: entry_enter, entry_leave, slab_with_room, mail_drain */
proctype thread(byte me; byte rounds) {
  byte held = 0, one = 0, word = 0, other = 0, to_free = 0, out[HEAPS];
  bool has, has_settled = false;
  do
  :: rounds == 0 -> break
  :: rounds != 0 ->
     rounds--;
     if
     :: true -> /* a slow path that cleans up: the bin's objects are shed, or go to the depot */
        enter(me);
        atomic { held = bin[me]; bin[me] = 0 }
        flush(me);
        drain(me);
        take_strays(me);
        leave(me);
        settle()
     :: true -> /* one that needs an object */
        enter(me);
        if
        :: is_listed[me] -> skip
        :: else -> pull()
        fi;
        allocate();
        take_strays(me);
        leave(me);
        settle()
     :: bin[me] != 0 -> /* none: malloc and free on the hot path */
        atomic { one = LOWEST(bin[me]); bin[me] = bin[me] & ~one }
        free(one);
        one = 0
     fi
  od;
  fall_asleep();
  assert(to_free == 0 && out[0] == 0 && out[1] == 0);
  ended++
}

/* C: free_direct, heap_enter_with */
/* No memory for mail: under the lock of who owns it, if that is still so. */
inline free_direct(set) {
  do
  :: true ->
     assert(owner != RELEASED);
     other = owner;
     enter(other);
     if
     :: owner == other -> break
     :: else -> leave(other)
     fi
  od;
  held = set;
  flush(other);
  assert((strays[other] & (set)) == 0); /* it was looked at under the lock */
  leave(other);
  redrain(other, true);
  other = 0
}

/* Not C: a thread that frees what others gave it, and posts it sooner or later. */
proctype remote(byte me; byte live) {
  byte held = 0, one = 0, word = 0, other = 0, to_free = 0, out[HEAPS], mine;
  bool has, has_settled = false;
  do
  :: live != 0 ->
     atomic { mine = LOWEST(live); live = live & ~mine }
     if
     :: true -> free(mine)
     :: true -> free_direct(mine)
     fi;
     mine = 0
  :: (out[0] | out[1]) != 0 ->
     if
     :: out[0] != 0 -> other = 0
     :: out[1] != 0 -> other = 1
     fi;
     post(other);
     other = 0
  :: to_free != 0 -> settle()
  :: live == 0 && out[0] == 0 && out[1] == 0 && to_free == 0 -> break
  od;
  ended++
}

init {
  byte i;
  atomic {
    run thread(0, ROUNDS);
    run thread(1, 1);
#if REMOTES == 2
    taken[0] = 2;
    run remote(2, 1);
    run remote(3, 2)
#else
    bits = 1;
    is_listed[0] = true;
    taken[0] = 2;
    bin[0] = 2;
    run remote(2, 4)
#endif
  }
  (ended == HEAPS + REMOTES);
  /* All threads idle. Nothing is on its way; what a pull made a stray meanwhile waits for its heap
   * to wake. */
  assert(lock[0] == NOBODY && lock[1] == NOBODY);
  assert(inbox[0] == 0 && inbox[1] == 0 && bin[0] == 0 && bin[1] == 0);
  assert((bits | strays[0] | strays[1]) == ALL);
  assert((bits & (strays[0] | strays[1])) == 0 && (strays[0] & strays[1]) == 0);
  for (i : 0 .. HEAPS - 1) {
    run thread(i, 0);
    (ended == HEAPS + REMOTES + 1 + i)
  }
  assert(bits == ALL && taken[0] == 0 && taken[1] == 0 && strays[0] == 0 && strays[1] == 0)
}
