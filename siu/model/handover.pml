/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handover and SYNC between a node, its home agent and its gateway, for spin. README.md in this
 * folder says what is checked, how to run it and what is left out; "spec" below is siu/README.md.
 *
 * Every step of a program that nothing can interrupt is one d_step or atomic. The networks are sets
 * of datagrams: any of them may arrive next, twice, or never. What is under "disk" outlives a crash,
 * all else of that program does not.
 *
 * What a search is about comes from the environment, so that one program serves all searches: IDS
 * (identifications the node may use), MOVES, GW_CRASHES, HA_CRASHES, DOWNS, LAPSES; LOSSES and
 * COPIES (255: without limit); SCENE; BROKEN, a rule of the protocol that is left out.
 */
c_decl {
\#include <stdlib.h>
static int number(const char *name, int otherwise)
{
	return getenv(name) != NULL ? atoi(getenv(name)) : otherwise;
}
}

#define UNLIMITED 255
#define IDS_MAX 4

/* scenes */
#define PLAIN 0
#define COLD 1
#define BAD_PLACE 2
#define FALSE_HOME 3
#define SKEW 4
#define SIGN_OFF 5
#define HA_LOSES_DISK 6
#define GW_LOSES_DISK 7

/* rules that can be left out */
#define NO_PATH_IS_PLAIN 1
#define TRUST_THE_ADDRESS 2
#define ACK_BEFORE_GRACE 3
#define ACK_BEFORE_DISK 4
#define REPLY_BEFORE_SWAP 5
#define SWEEP_AT_BEGIN 6
#define EARLY_END 7
#define OLD_REFERENCE 8
#define OLD_RUNS 9
#define NO_ORDER 10
#define GW_GENERATION_IN_MEMORY 11
#define HA_GENERATION_IN_MEMORY 12
#define PENDING_IN_MEMORY 13
#define NO_PUTTING_BACK 14
#define TRUST_DUPLICATE 15
#define REPLY_ONLY_BY_PATH 16

hidden byte scene, broken, ids; /* constant in a search */

/* --- places: what a care-of address can be ---------------------------------------------------- */

#define NOWHERE 0
#define A 1
#define B 2
#define BAD 3   /* an address that the gateway's filter refuses */
#define HOME 4  /* the home link: the home agent answers there itself */
#define FALSE 5 /* a link that gives the node its home address, but no home agent is there */

/* --- datagrams: a number each, so that a network can be kept sorted ---------------------------- */

/* home agent to gateway. what: reference of an UPDATE, id of a SYNC. spec 4 */
#define UPDATE 1
#define DEREGISTER 2 /* an UPDATE with that flag */
#define REPLY_ONLY 3 /* an UPDATE with that flag */
#define BEGIN 4
#define END 5
/* gateway to home agent */
#define ACK 1
#define BEGIN_ACK 2
#define END_ACK 3
/* results, spec 7 */
#define OK 0
#define DUPLICATE 1
#define STALE 2
#define BAD_COA 3
#define RESYNC_NEEDED 4
#define DONE 5 /* of a REPLY_ONLY, good or not */
/* codes of registration replies */
#define ACCEPTED 0
#define DENIED 1
#define CLOCK 2 /* 133 */

#define DATAGRAM(kind, run, what, gen, coa, rrp, code) \
	((kind) << 24 | (run) << 20 | (what) << 16 | (gen) << 12 | (coa) << 8 | (rrp) << 4 | (code))
#define KIND(m) ((m) >> 24 & 15)
#define RUN(m) ((m) >> 20 & 15)
#define WHAT(m) ((m) >> 16 & 15)
#define GEN(m) ((m) >> 12 & 15)
#define COA(m) ((m) >> 8 & 15)
#define RRP(m) ((m) >> 4 & 15)
#define CODE(m) ((m) & 15)
#define RESULT(m) CODE(m)

typedef siu_net { int at[3] }  /* 0: free; sorted, largest first */
typedef mip_net { int at[2] }
siu_net to_gw, to_ha;
mip_net rrqs, rrps; /* registrations: COA, RRP = identification, CODE */

/* of one step; all 0 between steps */
byte i, j, k, answered_gen;
bool again, was_away, is_other;
int m;

#define IS_OF(net, i, run) (net.at[i] != 0 && RUN(net.at[i]) == run)
#define HAS_ROOM(net, last) (net.at[last] == 0)

/* A set: what is there already is not there twice. */
inline put(net, last, datagram)
{
	j = 0;
	do
	:: j <= last && net.at[j] > datagram -> j++
	:: else -> break
	od;
	if
	:: j <= last && net.at[j] != datagram ->
		k = last;
		do
		:: k > j -> net.at[k] = net.at[k - 1]; k--
		:: else -> break
		od;
		net.at[j] = datagram
	:: else
	fi;
	j = 0;
	k = 0
}

inline take(net, last, which)
{
	k = which;
	do
	:: k < last -> net.at[k] = net.at[k + 1]; k++
	:: else -> break
	od;
	net.at[last] = 0;
	k = 0
}

/* To the node. One to another request than its last is dropped there; not sent is the same. */
inline reply_to(coa, id, code)
{
	if
	:: id == n_id -> put(rrps, 1, DATAGRAM(1, 0, 0, 0, coa, id, code))
	:: else
	fi
}

/* Drops the datagrams of runs that nobody will believe any more. */
inline purge(net, last, epoch)
{
	i = 0;
	do
	:: i <= last && net.at[i] != 0 && RUN(net.at[i]) < epoch -> take(net, last, i)
	:: i <= last && !(net.at[i] != 0 && RUN(net.at[i]) < epoch) -> i++
	:: i > last -> break
	od;
	i = 0
}

/* --- state ------------------------------------------------------------------------------------ */

/* node (control/mn/registration.c, homecoming.c) */
byte n_place = A, n_id, n_moves;
bool n_asking;   /* a request is unanswered */
bool n_accepted; /* the last one was accepted */
bool n_plain;    /* sends outside the tunnel: it is sure to be home */
bool n_gave_up;  /* denied for good here; waits for the next move */
bool n_skewed;   /* its clock is wrong */

/* home agent, disk (control/ha/binding.c) */
byte h_gen, h_known, h_registered, h_in_force, h_reply;
bool h_pending;
/* home agent, memory: the association and its pending table (siu/liveness.c, pending.c, sync.c) */
byte h_run = 1;
byte h_peer;                                 /* run of the gateway it knows; 0: none */
bool h_up, h_synced;
bool e_used, e_local, e_in_sync;             /* the ordinary entry of the home address */
byte e_kind, e_ref, e_gen, e_coa, e_rrp;
bool r_used;                                 /* its REPLY_ONLY entry */
byte r_ref, r_id, r_code;
#define IDLE 0
#define WANTED 1
#define BEGINNING 2
#define RUNNING 3
#define ENDING 4
byte s_state, s_id;
bool s_fed;

/* gateway, disk (control/gw/state.c) */
byte d_gen, d_coa;
bool d_closed = true;
/* gateway, memory (control/gw/tunnel.c, move.c, siu_handler.c, siu/receiver.c) */
byte g_run = 1;
byte g_peer;      /* run of the home agent it knows */
byte g_gen, g_coa;
bool g_closed = true;
bool g_old;       /* some worker may still be using the path before this one */
bool g_mark, g_sync_open, g_sweeping;
byte g_sync;      /* id of the SYNC begun last */
byte g_seen[IDS_MAX + 1]; /* outer source of the request with that identification */
#define WAITS 2
byte p_ref[WAITS], p_gen[WAITS], p_result[WAITS]; /* entries that wait to be acknowledged */
bool p_durable[WAITS], p_grace[WAITS], p_closing[WAITS];

/* what happened, for the checks alone */
byte acked_gen;   /* highest generation that an ACK said to be in force */
bool acked_open;  /* and it opened a path */
bool lapsed;      /* a lifetime was over: the node's own timer is, too */
bool in_clear;    /* a packet left a gateway unencrypted */
byte gw_crashes, ha_crashes, downs, lapses, losses, copies;

/* --- home agent --------------------------------------------------------------------------------- */

#define IS(net, i, kind, what) (net.at[i] != 0 && KIND(net.at[i]) == kind && WHAT(net.at[i]) == what)
#define IS_ENTRY(i, ref) (to_gw.at[i] != 0 && KIND(to_gw.at[i]) <= REPLY_ONLY && WHAT(to_gw.at[i]) == ref)
#define ON_ROAD(ref) (IS_ENTRY(0, ref) || IS_ENTRY(1, ref) || IS_ENTRY(2, ref))
#define AT_GATEWAY(ref) (p_ref[0] == ref || p_ref[1] == ref)
#define ANY(net, kind, what) \
	(IS(net, 0, kind, what) || IS(net, 1, kind, what) || IS(net, 2, kind, what))
#define ANSWERED(ref) ANY(to_ha, ACK, ref)

/* References are never used again in a run; the lowest that nothing under way bears is as good. */
inline new_ref(ref)
{
	ref = 1;
	do
	:: (e_used && e_ref == ref && !again) || (r_used && r_ref == ref) || ON_ROAD(ref) ||
			AT_GATEWAY(ref) || ANSWERED(ref) ->
		ref++
	:: else -> break
	od;
	again = false
}

/* siu_update(): an ordinary entry takes the place of the one before (spec 5, last paragraph). */
inline ask(kind, gen, coa, rrp)
{
	again = true;
	new_ref(e_ref);
	e_used = true;
	e_local = true;
	e_kind = kind;
	e_gen = gen;
	e_coa = coa;
	e_rrp = rrp
}

inline ask_reply_only(id, code)
{
	r_used = false;
	new_ref(r_ref);
	r_used = true;
	r_id = id;
	r_code = code
}

inline forget_entry()
{
	e_used = false;
	e_local = false;
	e_in_sync = false;
	e_kind = 0;
	e_ref = 0;
	e_gen = 0;
	e_coa = 0;
	e_rrp = 0
}

/* send_pending() and describe() of control/ha/notify.c */
inline ask_pending()
{
	if
	:: h_registered == NOWHERE -> ask(DEREGISTER, h_gen, NOWHERE, h_known)
	:: else -> ask(UPDATE, h_gen, h_registered, h_known)
	fi
}

/* describe() of a binding that nothing is pending for */
inline ask_to_keep()
{
	if
	:: h_registered == NOWHERE -> ask(DEREGISTER, h_gen, NOWHERE, 0)
	:: else -> ask(UPDATE, h_gen, h_registered, 0)
	fi
}

/* siu_sync_want(): a SYNC from the start; what it alone asked for is withdrawn. spec 6 */
inline want_sync()
{
	if
	:: e_in_sync && !e_local -> forget_entry()
	:: else -> e_in_sync = false
	fi;
	s_state = WANTED
}

/* ha_notify_register(): durable first, then the UPDATE (spec 5). A request on the home link is
 * answered there, and the path closed (leave_former()). */
inline accept_request(id, coa)
{
	h_gen++;
	assert(h_gen < 15);
	h_known = id;
	h_reply = ACCEPTED;
	if
	:: coa == HOME ->
		was_away = h_in_force != NOWHERE || h_pending;
		h_registered = NOWHERE;
		h_in_force = NOWHERE;
		h_pending = false;
		if
		:: was_away -> ask(DEREGISTER, h_gen, NOWHERE, 0)
		:: else
		fi;
		was_away = false;
		reply_to(HOME, id, ACCEPTED)
	:: coa == NOWHERE ->
		h_registered = NOWHERE;
		h_pending = true;
		ask_pending()
	:: else ->
		h_registered = coa;
		h_pending = true;
		ask_pending()
	fi
}

/* A request with lifetime 0 through the tunnel. */
#define SIGNED_OFF(m) (WHAT(m) == 1)

/* agent.c: figure 4 of the source. The code of a request says how the node's clock stood. */
inline take_request(m)
{
	if
	:: RRP(m) == h_known && CODE(m) == 0 && h_known != 0 -> /* duplicate: repeat() */
		if
		:: h_pending /* the reply is in the UPDATE */
		:: !h_pending && COA(m) == HOME ->
			reply_to(HOME, RRP(m), h_reply)
		:: else -> ask_reply_only(RRP(m), h_reply)
		fi
	:: else ->
		if
		:: CODE(m) != 0 || RRP(m) < h_known -> /* deny() with 133 */
			if
			:: COA(m) == HOME -> reply_to(HOME, RRP(m), CLOCK)
			:: else -> ask_reply_only(RRP(m), CLOCK)
			fi
		:: else -> accept_request(RRP(m), (SIGNED_OFF(m) -> NOWHERE : COA(m)))
		fi
	fi
}

/* Datagrams that would change nothing any more are not kept on their way: the same behaviour, and
 * a far shorter search. An answer nobody waits for; a step of a SYNC that was acted on and whose
 * answer nobody waits for. */
#define WAITS_FOR(step, id) (id == s_id && s_state == (step == BEGIN -> BEGINNING : ENDING))
#define MATTERS(kind, what) \
	(kind == ACK -> (e_used && e_ref == what) || (r_used && r_ref == what) : \
		WAITS_FOR((kind == BEGIN_ACK -> BEGIN : END), what))
#define IS_DEAD_ANSWER(m) (m != 0 && !MATTERS(KIND(m), WHAT(m)))
#define IS_DEAD_STEP(m) \
	(m != 0 && RUN(m) == g_peer && KIND(m) >= BEGIN && \
		!(g_peer == h_run && WAITS_FOR(KIND(m), WHAT(m))) && \
		(KIND(m) == BEGIN -> WHAT(m) <= g_sync : WHAT(m) != g_sync || !g_sync_open))

inline sift()
{
	i = 0;
	do
	:: i <= 2 && IS_DEAD_ANSWER(to_ha.at[i]) -> take(to_ha, 2, i)
	:: i <= 2 && !IS_DEAD_ANSWER(to_ha.at[i]) -> i++
	:: i > 2 -> break
	od;
	i = 0;
	do
	:: i <= 2 && IS_DEAD_STEP(to_gw.at[i]) -> take(to_gw, 2, i)
	:: i <= 2 && !IS_DEAD_STEP(to_gw.at[i]) -> i++
	:: i > 2 -> break
	od;
	i = 0
}

/* take_ack() of control/ha/notify.c */
inline take_ack(m)
{
	if
	:: r_used && r_ref == WHAT(m) ->
		r_used = false;
		r_ref = 0;
		r_id = 0;
		r_code = 0
	:: e_used && e_ref == WHAT(m) ->
		answered_gen = e_gen;
		is_other = RESULT(m) == STALE ||
			   (RESULT(m) == DUPLICATE && COA(m) != e_coa && broken != TRUST_DUPLICATE &&
				   broken != HA_GENERATION_IN_MEMORY);
		forget_entry();
		if
		:: answered_gen != h_gen /* superseded */
		:: answered_gen == h_gen && is_other -> /* outrun() */
			h_gen = (GEN(m) >= h_gen -> GEN(m) + 1 : h_gen);
			assert(h_gen < 15);
			if
			:: h_pending -> ask_pending()
			:: else -> ask_to_keep()
			fi
		:: answered_gen == h_gen && RESULT(m) == BAD_COA && h_pending -> /* refuse() */
			h_registered = h_in_force;
			h_pending = false;
			h_reply = DENIED;
			ask_reply_only(h_known, DENIED);
			if
			:: broken == NO_PUTTING_BACK
			:: else ->
				h_gen++;
				assert(h_gen < 15);
				ask_to_keep()
			fi
		:: answered_gen == h_gen && RESULT(m) < STALE && !is_other && h_pending -> /* confirm() */
			h_in_force = h_registered;
			h_pending = false
		:: else
		fi;
		answered_gen = 0;
		is_other = false
	:: else /* answered before, superseded or withdrawn */
	fi
}

inline take_sync_answer(m)
{
	if
	:: WHAT(m) == s_id && s_state == BEGINNING && KIND(m) == BEGIN_ACK ->
		s_state = RUNNING;
		s_fed = false
	:: WHAT(m) == s_id && s_state == ENDING && KIND(m) == END_ACK && RESULT(m) == OK ->
		s_state = IDLE;
		s_fed = false
	:: WHAT(m) == s_id && s_state == ENDING && KIND(m) == END_ACK && RESULT(m) != OK ->
		want_sync()
	:: else
	fi
}

/* feed() of siu/sync.c: an ordinary entry stands for its binding, under a new reference. */
inline feed()
{
	if
	:: h_registered == NOWHERE && h_in_force == NOWHERE
	:: else ->
		if
		:: e_used ->
			if
			:: broken != OLD_REFERENCE -> again = true; new_ref(e_ref)
			:: else
			fi
		:: !e_used && h_registered != NOWHERE ->
			ask(UPDATE, h_gen, h_registered, 0);
			e_local = false
		:: else ->
			ask(UPDATE, h_gen - 1, h_in_force, 0);
			e_local = false
		fi;
		e_in_sync = true
	fi;
	s_fed = true
}

/* What is sent to another run of the gateway than the present is dropped there; not sent at all is
 * the same. Repeated only when nothing of it is under way: an earlier repetition is a copy. */
#define MAY_SEND (h_up && h_peer == g_run && HAS_ROOM(to_gw, 2))
#define TO_GW(kind, what, gen, coa, rrp, code) \
	put(to_gw, 2, DATAGRAM(kind, h_run, what, gen, coa, rrp, code))

proctype HomeAgent()
{
end:
	do
	/* a request */
	:: d_step { rrqs.at[0] != 0 -> m = rrqs.at[0]; take(rrqs, 1, 0); take_request(m); sift(); m = 0 }
	:: d_step { rrqs.at[1] != 0 -> m = rrqs.at[1]; take(rrqs, 1, 1); take_request(m); sift(); m = 0 }

	/* an answer of the gateway; spec 3: of the peer's present run, and for ours */
	:: atomic {
		IS_OF(to_ha, 0, h_peer) || IS_OF(to_ha, 1, h_peer) || IS_OF(to_ha, 2, h_peer) ->
		if
		:: IS_OF(to_ha, 0, h_peer) -> i = 0
		:: IS_OF(to_ha, 1, h_peer) -> i = 1
		:: IS_OF(to_ha, 2, h_peer) -> i = 2
		fi;
		m = to_ha.at[i];
		if
		:: take(to_ha, 2, i)
		:: copies > 0 -> copies = (copies == UNLIMITED -> copies : copies - 1)
		fi;
		i = 0;
		if
		:: KIND(m) == ACK -> take_ack(m)
		:: else -> take_sync_answer(m)
		fi;
		sift();
		m = 0
	   }

	/* entries go out; spec 6 */
	:: d_step {
		MAY_SEND && e_used && !ON_ROAD(e_ref) && !AT_GATEWAY(e_ref) && !ANSWERED(e_ref) ->
		TO_GW(e_kind, e_ref, e_gen, e_coa, e_rrp, h_reply)
	   }
	:: d_step {
		MAY_SEND && r_used && !ON_ROAD(r_ref) && !ANSWERED(r_ref) ->
		TO_GW(REPLY_ONLY, r_ref, 0, 0, r_id, r_code)
	   }

	/* SYNC; spec 6 */
	:: d_step { h_up && s_state == WANTED -> s_id++; s_state = BEGINNING }
	:: d_step {
		MAY_SEND && s_state == BEGINNING && !ANY(to_gw, BEGIN, s_id) &&
				!ANY(to_ha, BEGIN_ACK, s_id) ->
		TO_GW(BEGIN, s_id, 0, 0, 0, 0)
	   }
	:: d_step { h_up && s_state == RUNNING && !s_fed -> feed(); sift() }
	:: d_step {
		h_up && s_state == RUNNING && s_fed && (!e_in_sync || broken == EARLY_END) ->
		s_state = ENDING;
		e_in_sync = false
	   }
	:: d_step {
		MAY_SEND && s_state == ENDING && !ANY(to_gw, END, s_id) &&
				!ANY(to_ha, END_ACK, s_id) ->
		TO_GW(END, s_id, 0, 0, 0, 0)
	   }

	/* a HELLO that echoes a fresh nonce: the gateway lives, and in that run; spec 3 and
	 * peer_changed() of siu/association.c */
	:: d_step {
		h_peer != g_run || !h_up ->
		if
		:: (h_peer != 0 && h_peer != g_run) || s_state != IDLE || !h_synced -> want_sync()
		:: else
		fi;
		h_peer = g_run;
		h_up = true;
		h_synced = true;
		purge(to_ha, 2, h_peer);
		sift()
	   }
	:: d_step { /* three HELLOs were missed */
		downs > 0 && h_up ->
		downs--;
		h_up = false;
		if
		:: s_state != IDLE -> want_sync()
		:: else
		fi;
		sift()
	   }

	/* the lifetime is over: ha_notify_expire() */
	:: d_step {
		lapses > 0 && (h_registered != NOWHERE || h_in_force != NOWHERE) ->
		lapses--;
		lapsed = true;
		h_gen++;
		assert(h_gen < 15);
		h_registered = NOWHERE;
		h_in_force = NOWHERE;
		h_pending = false;
		ask(DEREGISTER, h_gen, NOWHERE, 0);
		sift()
	   }

	/* kill -9 and start: ha_notify_start() asks again for what is pending */
	:: d_step {
		ha_crashes > 0 ->
		ha_crashes--;
		if
		:: broken == HA_GENERATION_IN_MEMORY && h_pending && h_gen > 1 -> h_gen--
		:: broken == PENDING_IN_MEMORY -> h_pending = false
		:: scene == HA_LOSES_DISK ->
			h_gen = 0;
			h_known = 0;
			h_registered = NOWHERE;
			h_in_force = NOWHERE;
			h_reply = ACCEPTED;
			h_pending = false
		:: else
		fi;
		h_run++;
		h_peer = 0;
		h_up = false;
		h_synced = false;
		s_state = IDLE;
		s_id = 0;
		s_fed = false;
		r_used = false;
		r_ref = 0;
		r_id = 0;
		r_code = 0;
		forget_entry();
		to_ha.at[0] = 0; /* receiver's epoch: none of them is for this run */
		to_ha.at[1] = 0;
		to_ha.at[2] = 0;
		if
		:: h_pending -> ask_pending()
		:: else
		fi
	   }
	od
}

/* --- gateway ------------------------------------------------------------------------------------ */

#define COA_IN_FORCE (g_closed -> NOWHERE : g_coa)

/* GEN and COA of an ACK are those in force. */
inline to_home_agent(kind, what, gen, coa, result)
{
	if
	:: MATTERS(kind, what) -> put(to_ha, 2, DATAGRAM(kind, g_run, what, gen, coa, 0, result))
	:: else
	fi
}


/* Acknowledged later: when no worker can be using the old path and the record is on disk. */
inline wait_for_grace(m, result, closing)
{
	i = (p_ref[0] == 0 -> 0 : 1);
	p_ref[i] = WHAT(m);
	p_gen[i] = GEN(m);
	p_result[i] = result;
	p_durable[i] = d_gen == g_gen && d_coa == g_coa && d_closed == g_closed;
	p_grace[i] = false;
	p_closing[i] = closing;
	i = 0
}

/* tunnel_move(): one pointer store. A worker that is in the middle of a burst keeps the old one. */
inline swap(gen, coa, closed)
{
	g_gen = gen;
	g_coa = coa;
	g_closed = closed;
	g_old = true
}

/* The first packet to the node's new place is the reply. */
inline reply_through_path(m)
{
	assert(g_coa == COA(m) && !g_closed);
	reply_to(g_coa, RRP(m), CODE(m))
}

#define IS_LOWER(m) (GEN(m) < g_gen && broken != NO_ORDER)
#define IS_IN_FORCE(m) (GEN(m) == g_gen && (!g_closed || KIND(m) == DEREGISTER))
#define ACTS_ON(m) (!IS_LOWER(m) && COA(m) != BAD && !IS_IN_FORCE(m))

/* move_apply() of control/gw/move.c; spec 5 */
inline take_update(m)
{
	if
	:: KIND(m) == REPLY_ONLY -> /* to where that request came from */
		if
		:: broken == REPLY_ONLY_BY_PATH ->
			reply_to(COA_IN_FORCE, RRP(m), CODE(m))
		:: broken != REPLY_ONLY_BY_PATH && g_seen[RRP(m)] != NOWHERE && g_seen[RRP(m)] != BAD ->
			reply_to(g_seen[RRP(m)], RRP(m), CODE(m))
		:: else
		fi;
		to_home_agent(ACK, WHAT(m), 0, 0, DONE)
	:: else ->
		g_mark = true;
		if
		:: IS_LOWER(m) -> to_home_agent(ACK, WHAT(m), g_gen, COA_IN_FORCE, STALE)
		:: !IS_LOWER(m) && COA(m) == BAD -> to_home_agent(ACK, WHAT(m), g_gen, COA_IN_FORCE, BAD_COA)
		:: !IS_LOWER(m) && COA(m) != BAD && IS_IN_FORCE(m) ->
			/* repeat() */
			if
			:: RRP(m) != 0 && !g_closed && COA(m) == g_coa ->
				reply_to(g_coa, RRP(m), CODE(m))
			:: else
			fi;
			wait_for_grace(m, DUPLICATE, false)
		:: ACTS_ON(m) && KIND(m) == UPDATE -> /* open_or_move() */
			if
			:: RRP(m) != 0 && broken == REPLY_BEFORE_SWAP -> reply_through_path(m)
			:: else
			fi;
			swap(GEN(m), COA(m), false);
			wait_for_grace(m, OK, false);
			if
			:: RRP(m) != 0 && broken != REPLY_BEFORE_SWAP -> reply_through_path(m)
			:: else
			fi
		:: ACTS_ON(m) && KIND(m) == DEREGISTER && RRP(m) != 0 && !g_closed ->
			/* the reply first, then the end: deregister(), move_close() */
			reply_to(g_coa, RRP(m), CODE(m));
			wait_for_grace(m, OK, true)
		:: ACTS_ON(m) && KIND(m) == DEREGISTER && (RRP(m) == 0 || g_closed) ->
			swap(GEN(m), g_coa, true);
			wait_for_grace(m, OK, false);
			if
			:: RRP(m) != 0 && g_seen[RRP(m)] != NOWHERE ->
				reply_to(g_seen[RRP(m)], RRP(m), CODE(m))
			:: else
			fi
		fi
	fi
}

/* siu_receiver_sync(); spec 6 */
inline take_sync(m)
{
	if
	:: KIND(m) == BEGIN && WHAT(m) > g_sync ->
		g_sync = WHAT(m);
		g_sync_open = true;
		g_mark = false;
		g_sweeping = broken == SWEEP_AT_BEGIN;
		to_home_agent(BEGIN_ACK, WHAT(m), 0, 0, OK)
	:: KIND(m) == BEGIN && WHAT(m) == g_sync -> to_home_agent(BEGIN_ACK, WHAT(m), 0, 0, OK)
	:: KIND(m) == BEGIN && WHAT(m) < g_sync
	:: KIND(m) == END && WHAT(m) != g_sync -> to_home_agent(END_ACK, WHAT(m), 0, 0, RESYNC_NEEDED)
	:: KIND(m) == END && WHAT(m) == g_sync ->
		g_sweeping = g_sweeping || g_sync_open;
		g_sync_open = false;
		to_home_agent(END_ACK, WHAT(m), 0, 0, OK)
	fi
}

/* advance() of control/gw/siu_handler.c */
inline acknowledge(i)
{
	/* the gateway says: no packet can leave for the old address any more (spec 4, ACK) */
	assert(!g_old || p_gen[i] < g_gen || p_grace[i]);
	to_home_agent(ACK, p_ref[i], g_gen, COA_IN_FORCE, p_result[i]);
	if
	:: p_gen[i] >= acked_gen ->
		acked_gen = p_gen[i];
		acked_open = g_gen == p_gen[i] && !g_closed
	:: else
	fi;
	p_ref[i] = 0;
	p_gen[i] = 0;
	p_result[i] = 0;
	p_durable[i] = false;
	p_grace[i] = false;
	p_closing[i] = false;
	if
	:: p_ref[1] != 0 && i == 0 -> /* any order: one picture of it is enough */
		p_ref[0] = p_ref[1];
		p_gen[0] = p_gen[1];
		p_result[0] = p_result[1];
		p_durable[0] = p_durable[1];
		p_grace[0] = p_grace[1];
		p_closing[0] = p_closing[1];
		p_ref[1] = 0;
		p_gen[1] = 0;
		p_result[1] = 0;
		p_durable[1] = false;
		p_grace[1] = false;
		p_closing[1] = false
	:: else
	fi
}

inline close_behind_reply(i)
{
	p_closing[i] = false;
	if
	:: g_gen >= p_gen[i] /* moved on by a newer update */
	:: else ->
		swap(p_gen[i], g_coa, true);
		p_durable[i] = false
	fi
}

#define IS_DURABLE(i) (p_durable[i] || broken == ACK_BEFORE_DISK)
#define IS_OVER(i) (p_grace[i] || broken == ACK_BEFORE_GRACE)
#define AWAITS_GRACE(i) (p_ref[i] != 0 && !p_grace[i] && !p_closing[i])
#define IS_DIRTY (d_gen != g_gen || d_coa != g_coa || d_closed != g_closed)

#define FOR_GW(i) \
	(IS_OF(to_gw, i, g_peer) || (broken == OLD_RUNS && to_gw.at[i] != 0 && RUN(to_gw.at[i]) < g_peer))

proctype Gateway()
{
end:
	do
	/* a datagram of the home agent; spec 3: of its present run (those for another run of ours
	 * were dropped by the crash). An UPDATE needs a place among those that wait: NO_RESOURCES is
	 * the same as its loss. */
	:: atomic {
		(FOR_GW(0) || FOR_GW(1) || FOR_GW(2)) &&
				HAS_ROOM(to_ha, 2) && HAS_ROOM(rrps, 1) && p_ref[1] == 0 ->
		if
		:: FOR_GW(0) -> i = 0
		:: FOR_GW(1) -> i = 1
		:: FOR_GW(2) -> i = 2
		fi;
		m = to_gw.at[i];
		if
		:: take(to_gw, 2, i)
		:: copies > 0 -> copies = (copies == UNLIMITED -> copies : copies - 1)
		fi;
		i = 0;
		if
		:: KIND(m) <= REPLY_ONLY -> take_update(m)
		:: else -> take_sync(m)
		fi;
		sift();
		m = 0
	   }

	/* the workers were quiescent: spec 4, ACK */
	:: d_step {
		g_old || AWAITS_GRACE(0) || AWAITS_GRACE(1) ->
		g_old = false;
		p_grace[0] = p_ref[0] != 0 && !p_closing[0];
		p_grace[1] = p_ref[1] != 0 && !p_closing[1]
	   }
	/* the thread of the disk commits what is queued */
	:: d_step {
		IS_DIRTY ->
		d_gen = g_gen;
		d_coa = g_coa;
		d_closed = g_closed;
		p_durable[0] = p_ref[0] != 0;
		p_durable[1] = p_ref[1] != 0
	   }
	:: d_step { p_ref[0] != 0 && p_closing[0] -> close_behind_reply(0) }
	:: d_step { p_ref[1] != 0 && p_closing[1] -> close_behind_reply(1) }
	:: d_step {
		p_ref[0] != 0 && !p_closing[0] && IS_OVER(0) && IS_DURABLE(0) && HAS_ROOM(to_ha, 2) ->
		acknowledge(0)
	   }
	:: d_step {
		p_ref[1] != 0 && !p_closing[1] && IS_OVER(1) && IS_DURABLE(1) && HAS_ROOM(to_ha, 2) ->
		acknowledge(1)
	   }

	/* sweep() and expire(): the generation stays */
	:: d_step {
		g_sweeping ->
		g_sweeping = false;
		if
		:: !g_mark && !g_closed ->
			/* an update that the home agent still holds for good is not swept */
			assert(h_pending || !(h_registered == g_coa && h_gen == g_gen));
			swap(g_gen, g_coa, true)
		:: else
		fi
	   }
	:: d_step {
		lapses > 0 && !g_closed ->
		lapses--;
		lapsed = true;
		if
		:: acked_gen == g_gen -> acked_open = false
		:: else
		fi;
		swap(g_gen, g_coa, true)
	   }

	/* a HELLO that echoes a fresh nonce of ours: siu_receiver_reset() */
	:: d_step {
		g_peer != h_run ->
		g_peer = h_run;
		g_sync = 0;
		g_sync_open = false;
		if
		:: broken != OLD_RUNS -> purge(to_gw, 2, g_peer)
		:: else
		fi;
		sift()
	   }

	/* kill -9 and start */
	:: d_step {
		gw_crashes > 0 ->
		gw_crashes--;
		g_run++;
		g_peer = 0;
		if
		:: scene == GW_LOSES_DISK ->
			d_gen = 0;
			d_coa = NOWHERE;
			d_closed = true;
			acked_gen = 0;
			acked_open = false
		:: broken == GW_GENERATION_IN_MEMORY -> d_gen = 0
		:: else
		fi;
		g_gen = d_gen;
		g_coa = d_coa;
		g_closed = d_closed;
		g_old = false;
		g_mark = true; /* no SYNC was begun */
		g_sync = 0;
		g_sync_open = false;
		g_sweeping = false;
		m = 0;
		do
		:: m <= IDS_MAX -> g_seen[m] = NOWHERE; m++
		:: else -> break
		od;
		m = 0;
		do
		:: m < WAITS ->
			p_ref[m] = 0;
			p_gen[m] = 0;
			p_result[m] = 0;
			p_durable[m] = false;
			p_grace[m] = false;
			p_closing[m] = false;
			m++
		:: else -> break
		od;
		m = 0;
		to_gw.at[0] = 0; /* receiver's epoch: none of them is for this run */
		to_gw.at[1] = 0;
		to_gw.at[2] = 0
	   }

	/* a packet for the node while no path is open (dataplane/path_out.c: dropped) */
	:: d_step { broken == NO_PATH_IS_PLAIN && g_closed && g_gen != 0 && !in_clear -> in_clear = true }
	od
}

/* --- node --------------------------------------------------------------------------------------- */

#define UNDER_WAY(id) \
	((rrqs.at[0] != 0 && RRP(rrqs.at[0]) == id) || (rrqs.at[1] != 0 && RRP(rrqs.at[1]) == id) || \
		(rrps.at[0] != 0 && RRP(rrps.at[0]) == id) || (rrps.at[1] != 0 && RRP(rrps.at[1]) == id) || \
		(e_used && e_rrp == id) || (r_used && r_id == id))

/* Through its tunnel, and so through the gateway, which notes where it came from; at home on the
 * link. On a false home link nobody is there who could answer. */
inline send_request(id, skewed, off)
{
	if
	:: n_place == FALSE
	:: n_place == HOME -> put(rrqs, 1, DATAGRAM(1, 0, 0, 0, HOME, id, skewed))
	:: else ->
		put(rrqs, 1, DATAGRAM(1, 0, off, 0, n_place, id, skewed));
		g_seen[id] = n_place
	fi
}

inline request_anew()
{
	n_id++;
	n_asking = true;
	n_accepted = false;
	rrps.at[0] = 0;
	rrps.at[1] = 0;
	send_request(n_id, n_skewed, 0)
}

inline move_to(place)
{
	n_moves--;
	n_place = place;
	n_gave_up = false;
	n_plain = broken == TRUST_THE_ADDRESS && (n_place == HOME || n_place == FALSE);
	request_anew()
}

#define MAY_MOVE (n_moves > 0 && n_id < ids && HAS_ROOM(rrqs, 1))

inline take_reply(m)
{
	if
	:: COA(m) != n_place || RRP(m) != n_id || !n_asking /* elsewhere, of another request */
	:: else ->
		n_asking = false;
		if
		:: CODE(m) == ACCEPTED ->
			n_accepted = true;
			n_plain = n_place == HOME
		:: CODE(m) == CLOCK && n_skewed -> /* adopt_clock(): at once, with a new identification */
			n_skewed = false;
			request_anew()
		:: else -> n_gave_up = true
		fi
	fi
}

proctype Node()
{
end:
	do
	:: d_step { MAY_MOVE && n_place != A -> move_to(A) }
	:: d_step { MAY_MOVE && n_place != B -> move_to(B) }
	:: d_step { MAY_MOVE && n_place != HOME -> move_to(HOME) }
	:: d_step { scene == BAD_PLACE && MAY_MOVE && n_place != BAD -> move_to(BAD) }
	:: d_step { scene == FALSE_HOME && MAY_MOVE && n_place != FALSE -> move_to(FALSE) }
	/* who runs that link has recorded replies to give */
	:: d_step {
		n_place == FALSE && n_id > 1 && HAS_ROOM(rrps, 1) && rrps.at[0] == 0 && copies > 0 ->
		copies = (copies == UNLIMITED -> copies : copies - 1);
		put(rrps, 1, DATAGRAM(1, 0, 0, 0, FALSE, n_id - 1, ACCEPTED))
	   }
	:: d_step { /* lifetime 0 through the tunnel: it is used no more */
		scene == SIGN_OFF && n_accepted && n_place < BAD && n_id < ids && HAS_ROOM(rrqs, 1) ->
		n_id = ids;
		n_moves = 0;
		n_accepted = false;
		n_gave_up = true;
		send_request(n_id, 0, 1)
	   }

	/* impatient, or time to refresh: a new request */
	:: d_step {
		n_id < ids && n_asking && n_place != FALSE && HAS_ROOM(rrqs, 1) -> request_anew()
	   }
	:: d_step {
		lapsed && !n_asking && n_place < BAD && !n_gave_up && HAS_ROOM(rrqs, 1) ->
		lapsed = false;
		n_id = (n_id < ids -> n_id : ids);
		request_anew()
	   }
	/* all of the last one was lost: the same again stands for any number of new ones */
	:: d_step {
		n_id >= ids && n_asking && n_place != FALSE && n_place != BAD && !UNDER_WAY(n_id) && HAS_ROOM(rrqs, 1) ->
		send_request(n_id, n_skewed, 0)
	   }

	:: d_step { rrps.at[0] != 0 && HAS_ROOM(rrqs, 1) -> m = rrps.at[0]; take(rrps, 1, 0); take_reply(m); m = 0 }
	:: d_step { rrps.at[1] != 0 && HAS_ROOM(rrqs, 1) -> m = rrps.at[1]; take(rrps, 1, 1); take_reply(m); m = 0 }
	od
}

/* --- networks and checks ------------------------------------------------------------------------ */

#define SPEND losses = (losses == UNLIMITED -> losses : losses - 1)

proctype Loss()
{
end:
	do
	:: d_step { losses > 0 && to_gw.at[0] != 0 -> SPEND; take(to_gw, 2, 0) }
	:: d_step { losses > 0 && to_gw.at[1] != 0 -> SPEND; take(to_gw, 2, 1) }
	:: d_step { losses > 0 && to_gw.at[2] != 0 -> SPEND; take(to_gw, 2, 2) }
	:: d_step { losses > 0 && to_ha.at[0] != 0 -> SPEND; take(to_ha, 2, 0) }
	:: d_step { losses > 0 && to_ha.at[1] != 0 -> SPEND; take(to_ha, 2, 1) }
	:: d_step { losses > 0 && to_ha.at[2] != 0 -> SPEND; take(to_ha, 2, 2) }
	:: d_step { losses > 0 && rrqs.at[0] != 0 -> SPEND; take(rrqs, 1, 0) }
	:: d_step { losses > 0 && rrqs.at[1] != 0 -> SPEND; take(rrqs, 1, 1) }
	:: d_step { losses > 0 && rrps.at[0] != 0 -> SPEND; take(rrps, 1, 0) }
	:: d_step { losses > 0 && rrps.at[1] != 0 -> SPEND; take(rrps, 1, 1) }
	od
}

/* 1. nothing in clear, but a node's own packets on its own home link */
#define NEVER_CLEAR (!in_clear && (!n_plain || n_place == HOME))
/* 2. what was acknowledged holds, whatever crashed since, until something later takes its place */
#define ACKED_HOLDS \
	(g_gen > acked_gen || (g_gen == acked_gen && (!acked_open || !g_closed || !CALLED_FOR)))
#define CALLED_FOR (h_registered == g_coa && h_gen == g_gen && !h_pending)
/* 3. when nothing is under way any more, all three say the same */
#define ENDS_AGREE \
	(!h_pending && h_registered == h_in_force && !e_used && !r_used && s_state == IDLE && \
		(h_in_force == NOWHERE -> g_closed : (!g_closed && g_coa == h_in_force && !IS_DIRTY)))
/* of a home agent's lost disk it learns when it refreshes */
#define MAY_DIFFER (n_gave_up || n_place == FALSE || n_place == BAD || scene == HA_LOSES_DISK)
#define NODE_AGREES \
	(MAY_DIFFER || \
		(n_accepted && (n_place == HOME -> h_in_force == NOWHERE : h_in_force == n_place)))
proctype Monitor()
{
end:
	do
	:: d_step { !(NEVER_CLEAR) -> assert(NEVER_CLEAR) }
	:: d_step { !(ACKED_HOLDS) -> assert(ACKED_HOLDS) }
	:: timeout && !(ENDS_AGREE) -> assert(ENDS_AGREE)
	:: timeout && !(NODE_AGREES) -> assert(NODE_AGREES)
	od
}

init {
	d_step {
		c_code {
			scene = number("SCENE", 0);
			broken = number("BROKEN", 0);
			ids = number("IDS", 3);
			now.n_moves = number("MOVES", 1);
			now.gw_crashes = number("GW_CRASHES", 0);
			now.ha_crashes = number("HA_CRASHES", 0);
			now.downs = number("DOWNS", 0);
			now.lapses = number("LAPSES", 0);
			now.losses = number("LOSSES", 255);
			now.copies = number("COPIES", 255);
		};
		assert(ids <= IDS_MAX);
		n_skewed = scene == SKEW;
		n_id = 1;
		if
		:: scene == COLD -> /* nothing was ever registered */
			n_asking = true;
			send_request(1, 0, 0)
		:: else -> /* the node is registered at A, and a SYNC was run */
			n_accepted = true;
			h_gen = 1;
			h_known = 1;
			h_registered = A;
			h_in_force = A;
			h_peer = 1;
			h_up = true;
			h_synced = true;
			s_id = 1;
			d_gen = 1;
			d_coa = A;
			d_closed = false;
			g_peer = 1;
			g_gen = 1;
			g_coa = A;
			g_closed = false;
			g_mark = true;
			g_sync = 1;
			acked_gen = 1;
			acked_open = true
		fi
	}
	atomic {
		run HomeAgent();
		run Gateway();
		run Node();
		run Loss();
		run Monitor()
	}
}
