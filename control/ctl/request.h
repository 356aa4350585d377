/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_CTL_REQUEST_H
#define CONTROL_CTL_REQUEST_H
/*
 * Turns the words of the command line into the request object of the control socket.
 *
 *   show TABLE [key=value ...]                    {"verb": "show-TABLE", ...}
 *   sa add|del|update NODE in|out [key=value ...] {"verb": "sa-add", "node", "direction", ...}
 *   node add|del NAME [key=value ...]             {"verb": "node-add", "node", ...}
 *   reload                                        {"verb": "reload"}
 *
 * Values are numbers for the keys that count or number, true/false for switches, else strings.
 * KEY_file=PATH sends the content of the file as KEY (hex); a key itself is not taken, since the
 * command line can be seen by every user of the machine.
 * Thread: main. The object may hold a key: admin_wipe_json() first.
 */
#include <jansson.h>
#include <stddef.h>

/* Returns a new reference, or NULL with a sentence in why. */
json_t *request_from_words(char *const words[], size_t n, char *why, size_t why_size);
#endif
