/* via.h - a device for stacks that have no queue of their own (more stacks than device queues): frames to send go by a ring to a
 * stack that has one; received frames come by steering (steer.h). Boot makes them; the ops are called by the owner. */
#ifndef GZ_STACK_VIA_H
#define GZ_STACK_VIA_H

#include "stack/stack.h"

/* A device for stack `id` that sends through `carrier` (a stack with a queue of nd). NULL: out of memory. Boot. */
struct netdev *via_create(const struct netdev *nd, struct stack *carrier, uint16_t id);
/* Frames that other stacks want st to send; returns how many. Owner of st. */
unsigned via_carry(struct stack *st);

#endif
