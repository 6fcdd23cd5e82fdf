/* claim.pml — chunks of one superslab: claims, releases and a purge in any order. A lazy chunk is as
 * good as a dirty one here: free, and with contents.
 *
 * The word has two bits a chunk, `free` and `zero`, and changes by compare-and-swap. `content` is
 * what lies in a chunk; whoever uses or purges it must be alone.
 */
#define CHUNKS 2
#define ALL 3
#define NOBODY 255

byte word_free = ALL, word_zero = 0; /* together one word: changed in one atomic step */
byte user[CHUNKS] = NOBODY;
bool content[CHUNKS] = true;         /* true: something other than zero */
byte purge_lock = NOBODY;
byte ended = 0;

/* C: superslab_take, claim_in */
inline claim(me, mask, has, was_zero) {
  atomic { /* one CAS; one that fails is another's success, and looks again */
    if
    :: (word_free & mask) == mask ->
       was_zero = ((word_zero & mask) == mask);
       word_free = word_free & ~mask;
       word_zero = word_zero & ~mask;
       has = true
    :: else -> has = false
    fi
  }
}
/* C: superslab_give, superslab_release, give_run, state_of */
inline release(mask, is_zero) {
  atomic {
    assert((word_free & mask) == 0);
    word_free = word_free | mask;
    if
    :: is_zero -> word_zero = word_zero | mask
    :: else -> skip
    fi
  }
}

/* Not C: what a slab, a run or a program does with chunks that are its own. */
inline use(me, c, was_zero) {
  assert(user[c] == NOBODY);
  user[c] = me;
  assert(!was_zero || !content[c]);
  content[c] = true;
  user[c] = NOBODY
}

/* C: superslab_claim, count_claimed */
proctype claimer(byte me; byte mask) {
  bool has, was_zero;
  byte rounds = 0;
  do
  :: rounds == 2 -> break
  :: else ->
     rounds++;
     claim(me, mask, has, was_zero);
     if
     :: !has -> skip
     :: has -> /* a limit refuses it, or its other part was not to be had */
        release(mask, was_zero) /* C: claim_stands, claim_whole */
     :: has ->
        if
        :: mask & 1 -> use(me, 0, was_zero)
        :: else -> skip
        fi;
        if
        :: mask & 2 -> use(me, 1, was_zero)
        :: else -> skip
        fi;
        release(mask, false)
     fi
  od;
  ended++
}

/* C: purge_chunks, purge_from_top, purge_run, word_is_empty_resident, word_dirty */
proctype purger(byte me) {
  bool has, was_zero, may;
  byte c, mask;
  atomic {
    if
    :: purge_lock == NOBODY -> purge_lock = me; may = true
    :: else -> may = false
    fi
  }
  if
  :: !may -> skip
  :: else ->
     atomic { /* one load: an empty one whole, else a run of its dirty chunks */
       if
       :: word_free == ALL && word_zero != ALL -> mask = ALL
       :: (word_free & ~word_zero & 1) -> mask = 1
       :: (word_free & ~word_zero & 2) -> mask = 2
       :: word_free == word_zero -> mask = 0
       fi
     }
     if
     :: mask == 0 -> skip
     :: else ->
        claim(me, mask, has, was_zero);
        if
        :: !has -> skip
        :: else ->
           for (c : 0 .. CHUNKS - 1) {
             if
             :: mask & (1 << c) ->
                assert(user[c] == NOBODY);
                user[c] = me;
                content[c] = false;
                user[c] = NOBODY
             :: else -> skip
             fi
           }
           release(mask, true)
        fi
     fi;
     purge_lock = NOBODY
  fi;
  ended++
}

init {
  atomic {
    run claimer(0, 1);
    run claimer(1, 3);
    run purger(2);
    run purger(3)
  }
  (ended == 4);
  assert(word_free == ALL && purge_lock == NOBODY);
  assert((word_zero & 1) == 0 || !content[0]);
  assert((word_zero & 2) == 0 || !content[1])
}
