/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a table says for each command which words must stand there; what follows are
 * key=value words, the same for all commands. What a key may be is the server's business: it knows
 * its verbs, and its answer names what it does not take.
 */
#include "control/ctl/request.h"

#include "lib/conf.h"
#include "lib/hmac.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES_MAX 128

struct sentence {
	char *text;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static bool fail(
	const struct sentence *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, why->size, format, args);
	va_end(args);
	return false;
}

static bool is_one_of(const char *word, const char *const list[])
{
	for (; *list != NULL; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}

/* --- key=value words --- */

static bool put_number(
	json_t *request, const char *key, const char *value, const struct sentence *why)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(value, &end, 0);
	if (end == value || *end != '\0' || errno != 0)
		return fail(why, "%s=%s: give a whole number, such as 4097 or 0x1001", key, value);
	return json_object_set_new(request, key, json_integer(number)) == 0;
}

static bool put_switch(
	json_t *request, const char *key, const char *value, const struct sentence *why)
{
	bool on = strcmp(value, "true") == 0;

	if (!on && strcmp(value, "false") != 0)
		return fail(why, "%s=%s: give true or false", key, value);
	return json_object_set_new(request, key, json_boolean(on)) == 0;
}

/* key ends in "_file". */
static bool put_secret(
	json_t *request, const char *key, const char *path, const struct sentence *why)
{
	struct conf_secret secret = {0};
	char hex[2 * CONF_SECRET_MAX + 1] = "";
	char name[NAME_BYTES_MAX];
	const char *wrong = conf_secret_read(path, &secret);
	bool ok;

	if (wrong != NULL) {
		secret_wipe(&secret, sizeof secret);
		return fail(why, "%s=%s: %s", key, path, wrong);
	}
	for (size_t i = 0; i < secret.len; i++)
		snprintf(hex + 2 * i, 3, "%02x", secret.bytes[i]);
	snprintf(name, sizeof name, "%.*s", (int)(strlen(key) - strlen("_file")), key);
	ok = json_object_set_new(request, name, json_string(hex)) == 0;
	secret_wipe(hex, sizeof hex);
	secret_wipe(&secret, sizeof secret);
	return ok;
}

static bool put_word(json_t *request, const char *word, const struct sentence *why)
{
	static const char *const numbers[] = {"spi", "replay_window", "rekey_time", "life_time",
		"rekey_packets", "life_packets", "rekey_bytes", "life_bytes", "tfc_pad",
		"tfc_dummies", "from", NULL};
	static const char *const switches[] = {"esn", "strict_inner_source", "strict_outer_source",
		"allow_nat", "bicast", "provisional", "return_routability", NULL};
	static const char *const secrets[] = {"key", "secret", NULL};
	static const char *const secret_files[] = {"key_file", "secret_file", NULL};
	const char *equals = strchr(word, '=');
	char key[NAME_BYTES_MAX];
	const char *value;

	if (equals == NULL || equals == word || (size_t)(equals - word) >= sizeof key)
		return fail(why, "\"%s\" is not understood here: give key=value", word);
	memcpy(key, word, (size_t)(equals - word));
	key[equals - word] = '\0';
	value = equals + 1;
	if (json_object_get(request, key) != NULL)
		return fail(why, "%s is given twice", key);
	if (is_one_of(key, secrets))
		return fail(why,
			"%s= could be seen by others: put it into a file, mode 0600, and "
			"give %s_file=PATH",
			key, key);
	if (is_one_of(key, secret_files))
		return put_secret(request, key, value, why);
	if (is_one_of(key, numbers))
		return put_number(request, key, value, why);
	if (is_one_of(key, switches))
		return put_switch(request, key, value, why);
	if (json_object_set_new(request, key, json_string(value)) != 0)
		return fail(why, "%s is not UTF-8 text", key);
	return true;
}

/* --- commands --- */

static const struct command {
	const char *word;
	const char *const *verbs; /* second word; NULL: none */
	const char *const *names; /* what the words behind it are called in the request */
	const char *form;
} commands[] = {
	{"show",
		(const char *const[]){"sa", "nodes", "drops", "handovers", "ports", "siu", "events",
			"audit", "policy", "bindings", "status", NULL},
		(const char *const[]){NULL},
		"show sa|nodes|drops|handovers|ports|siu|events|audit|policy|bindings|status "
		"[key=value "
		"...]"},
	{"sa", (const char *const[]){"add", "del", "update", "switch", NULL},
		(const char *const[]){"node", "direction", NULL},
		"sa add|del|update|switch NODE in|out [key=value ...]"},
	{"node", (const char *const[]){"add", "del", NULL}, (const char *const[]){"node", NULL},
		"node add|del NAME [key=value ...]"},
	{"reload", NULL, (const char *const[]){NULL}, "reload"},
};

static const struct command *find_command(const char *word)
{
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		if (strcmp(commands[i].word, word) == 0)
			return &commands[i];
	return NULL;
}

/* Takes the words that must stand there; returns how many, 0 after an error. */
static size_t put_fixed_words(json_t *request, const struct command *command, char *const words[],
	size_t n, const struct sentence *why)
{
	size_t used = 1;
	char verb[NAME_BYTES_MAX];

	snprintf(verb, sizeof verb, "%s", command->word);
	if (command->verbs != NULL) {
		if (n < 2 || !is_one_of(words[1], command->verbs)) {
			fail(why, "give: %s", command->form);
			return 0;
		}
		snprintf(verb, sizeof verb, "%s-%s", command->word, words[1]);
		used = 2;
	}
	json_object_set_new(request, "verb", json_string(verb));
	for (const char *const *name = command->names; *name != NULL; name++, used++) {
		if (used >= n || strchr(words[used], '=') != NULL ||
			(strcmp(*name, "direction") == 0 && strcmp(words[used], "in") != 0 &&
				strcmp(words[used], "out") != 0)) {
			fail(why, "give: %s", command->form);
			return 0;
		}
		json_object_set_new(request, *name, json_string(words[used]));
	}
	return used;
}

json_t *request_from_words(char *const words[], size_t n, char *why, size_t why_size)
{
	const struct sentence sentence = {.text = why, .size = why_size};
	const struct command *command = n > 0 ? find_command(words[0]) : NULL;
	json_t *request = json_object();
	bool ok;
	size_t at;

	fail(&sentence, "out of memory"); /* unless something says better */
	if (command == NULL) {
		if (n > 0)
			fail(&sentence, "\"%s\" is no command; see roamctl --help", words[0]);
		else
			fail(&sentence, "no command is given; see roamctl --help");
		json_decref(request);
		return NULL;
	}
	at = put_fixed_words(request, command, words, n, &sentence);
	ok = at != 0;
	for (; ok && at < n; at++)
		ok = put_word(request, words[at], &sentence);
	if (ok)
		return request;
	json_decref(request);
	return NULL;
}
