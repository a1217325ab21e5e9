"""For the program that decides who is restricted, such as an ERP: commands that are never lost, and their answers.

    import asyncio
    from edged.client import Sender

    async def main():
        async with Sender("erp", brokers=["mqtts://a:8883", "mqtts://b:8883"], outbox="erp.outbox",
                          issuer="erp", key="erp.key", table=lambda gateway: my_snapshot_of(gateway)) as sender:
            sent = await sender.send("gw1", [{"op": "block", "sub": "C-1001", "reason": "debt", "invoices": ["F-77"]}])
            for answer in await sent.answers():           # enforced by the kernel, or refused: each with its reason
                print(answer.gateway, answer.document["summary"], answer.rejected)

    asyncio.run(main())

When ``send`` returns, the commands are numbered and on disk; they are published, again after a crash or on another
broker, until each gateway has answered. A gateway that lost something asks for a snapshot, and gets what ``table``
gives. A gateway's brake may keep commands (``answer.held``) or a whole snapshot (:class:`Held`) until a human there
looked: neither is to be sent again. One sender, one outbox, one process; an issuer's commands for a gateway come from
one sender, because they are numbered. Who may publish on ``edged/v1/client/<name>/ack`` and ``edged/v1/gw/+/event`` is
the broker's business: what is heard there is believed.
"""

from edged.client.brokers import Brokers
from edged.client.documents import Answer, Command, Commands, Group
from edged.client.links import pay_token
from edged.client.sender import Sender
from edged.client.sent import Held, Sent, Unanswered

__all__ = ["Answer", "Brokers", "Command", "Commands", "Group", "Held", "Sender", "Sent", "Unanswered", "pay_token"]
