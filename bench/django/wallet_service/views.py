"""The two routes of a wallet."""

from django.db import transaction
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.views import APIView

from .models import Wallet, WalletOperation
from .serializers import OperationSerializer, WalletSerializer


class WalletView(APIView):
    """`GET` of a wallet."""

    def get(self, request, wallet_id):
        """The wallet with its balance."""
        return Response(WalletSerializer(find(Wallet.objects, wallet_id)).data)


class OperationView(APIView):
    """`POST` of a deposit or a withdrawal."""

    @transaction.atomic
    def post(self, request, wallet_id):
        """The wallet is locked until the new balance and the operation are committed."""
        wallet = find(Wallet.objects.select_for_update(), wallet_id)
        form = OperationSerializer(data=request.data)
        if not form.is_valid():
            return refusal(form.errors)
        operation_type, amount = form.validated_data["operation_type"], form.validated_data["amount"]
        if operation_type == WalletOperation.Type.DEPOSIT:
            wallet.balance += amount
        elif wallet.balance >= amount:
            wallet.balance -= amount
        else:
            text = f"Insufficient balance. Current balance: {wallet.balance}, Required: {amount}"
            return refusal({"non_field_errors": [text]})
        wallet.save()
        WalletOperation.objects.create(wallet=wallet, operation_type=operation_type, amount=amount)
        return Response(WalletSerializer(wallet).data)


def find(wallets, wallet_id):
    """The wallet of this id, or the answer 404."""
    try:
        return wallets.get(id=wallet_id)
    except Wallet.DoesNotExist as error:
        raise NotFound("Wallet not found") from error


def refusal(errors):
    """The answer to an operation that cannot be done."""
    return Response({"errors": errors}, status=status.HTTP_400_BAD_REQUEST)
