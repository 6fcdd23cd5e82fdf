/* fork.pml — the fork gate: between prepare and parent no other thread is inside what an outermost
 * lock protects, two forking threads wait for each other, and all of them end.
 */
#define LOCKS 2
#define NOBODY 255

byte word[LOCKS] = NOBODY; /* of the locks: who holds it */
byte gate = NOBODY;        /* who forks */
byte inside[LOCKS] = 0;    /* who does work there, in earnest */
byte forking = 0;
byte ended = 0;

/* C: lock_enter, word_take, gate_is_closed, gate_wait, unlock */
inline enter(me, l) {
  do
  :: atomic { word[l] == NOBODY -> word[l] = me } /* one CAS; otherwise wait and look again */
     if
     :: gate == NOBODY || gate == me -> break
     :: else ->
        word[l] = NOBODY;
        (gate == NOBODY || gate == me) /* sleeps on the gate */
     fi
  od
}

/* C: lock_leave */
inline leave(me, l) { assert(word[l] == me); word[l] = NOBODY }

proctype worker(byte me; byte l) {
  byte rounds = 0;
  do
  :: rounds == 2 -> break
  :: else ->
     rounds++;
     enter(me, l);
     inside[l]++;
     assert(inside[l] == 1);
     assert(forking == 0);
     inside[l]--;
     leave(me, l)
  od;
  ended++
}

/* C: lock_fork_prepare, wait_until_free, for_each_held, lock_fork_parent, gate_open */
proctype forker(byte me) {
  byte l;
  atomic { gate == NOBODY -> gate = me } /* one CAS; a failed one waits for the gate */
  for (l : 0 .. LOCKS - 1) {
    (word[l] == NOBODY || word[l] == me)
  }
  forking++;
  assert(forking == 1);
  for (l : 0 .. LOCKS - 1) {
    assert(inside[l] == 0)
  }
  if /* its own handlers may allocate */
  :: true -> enter(me, 0); leave(me, 0)
  :: true -> skip
  fi;
  forking--;
  gate = NOBODY;
  ended++
}

init {
  atomic {
    run worker(0, 0);
    run worker(1, 1);
    run forker(2);
    run forker(3)
  }
  (ended == 4);
  assert(gate == NOBODY && word[0] == NOBODY && word[1] == NOBODY)
}
