/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_CTL_TABLE_H
#define CONTROL_CTL_TABLE_H
/*
 * Prints what a program answered for people to read: fields as "name: value", rows as an aligned
 * table with the columns in the order in which the rows name them first.
 *
 * Knows nothing of the tables' meaning. Thread: main.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* fields: an object; rows: an array of objects, may be empty. False: out of memory. */
bool table_print(FILE *out, json_t *fields, json_t *rows);
#endif
